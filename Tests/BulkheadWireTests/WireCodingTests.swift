import BulkheadCore
import BulkheadTestSupport
import BulkheadWire
import Testing

@Suite struct WireCodingTests {
  @Test func valuesComeBackAsTheyWereWritten() throws {
    var writer = WireWriter(capacity: 1)
    writer.u8(7)
    writer.u16(0x1234)
    writer.u32(0xdead_beef)
    writer.u64(.max)
    writer.i32(-5)
    writer.bool(true)
    writer.string("häuser")
    writer.blob([1, 2, 3])
    writer.array([1, 2, 3] as [UInt32]) { $0.u32($1) }
    let bytes = writer.array
    try bytes.withUnsafeBytes { raw in
      var reader = WireReader(raw)
      #expect(try reader.u8("a") == 7)
      #expect(try reader.u16("a") == 0x1234)
      #expect(try reader.u32("a") == 0xdead_beef)
      #expect(try reader.u64("a") == .max)
      #expect(try reader.i32("a") == -5)
      #expect(try reader.bool("a"))
      #expect(try reader.string("a") == "häuser")
      #expect(try reader.bytes("a") == [1, 2, 3])
      #expect(
        try reader.array("a", atMost: 3) { reader throws(WireError) in try reader.u32("b") } == [1, 2, 3])
      try reader.end("a")
    }
  }

  @Test func everyTruncationIsRefusedByName() {
    let bytes = FrontCommand.addWorker(worker: 1, plugin: 2).encoded()
    for count in 0..<bytes.count {
      let prefix = Array(bytes.prefix(count))
      #expect(throws: WireError.self, "\(count) bytes") { try prefix.withUnsafeBytes { try FrontCommand($0) } }
    }
  }

  @Test func aCountThatLiesReservesNothing() {
    var writer = WireWriter()
    writer.u32(.max)
    let bytes = writer.array
    #expect(throws: WireError(.tooLarge, "list")) {
      try bytes.withUnsafeBytes { raw in
        var reader = WireReader(raw)
        _ = try reader.array("list", atMost: 10) { reader throws(WireError) in try reader.u8("x") }
      }
    }
    #expect(throws: WireError(.truncated, "list")) {
      try bytes.withUnsafeBytes { raw in
        var reader = WireReader(raw)
        _ = try reader.array("list", atMost: .max) { reader throws(WireError) in try reader.u8("x") }
      }
    }
  }

  @Test func bytesAfterTheValueAreRefused() {
    let bytes = FrontEvent.serving.encoded() + [0]
    #expect(throws: WireError(.trailingBytes, "event")) { try bytes.withUnsafeBytes { try FrontEvent($0) } }
  }

  @Test func aPatchOutsideTheWrittenBytesDoesNothing() {
    var writer = WireWriter()
    writer.u16(1)
    writer.patch(UInt32(9), at: 0)
    writer.patch(UInt16(9), at: -1)
    writer.patch(UInt16(9), at: 1)
    #expect(writer.array == [1, 0])
  }
}

@Suite struct PairsTests {
  @Test(
    arguments: [
      [], [("a", "b")], [("", "")], [(":method", "GET"), ("x", ""), ("x", "2")],
    ] as [[(String, String)]])
  func pairsComeBackInOrder(_ pairs: [(String, String)]) throws {
    var writer = WireWriter()
    writer.pairs(pairs)
    let view = try PairsView(writer.bytes)
    #expect(view.count == pairs.count)
    #expect(view.strings.map(\.0) == pairs.map(\.0))
    #expect(view.strings.map(\.1) == pairs.map(\.1))
  }

  @Test func noBytesAreNoPairs() throws {
    #expect(try PairsView(UnsafeRawBufferPointer(start: nil, count: 0)).count == 0)
  }

  @Test(
    arguments: [
      ("count alone", [1, 0, 0, 0], WireError(.truncated, "pairs.lengths")),
      ("three bytes", [0, 0, 0], WireError(.truncated, "pairs.count")),
      ("count over the bound", [0xff, 0xff, 0xff, 0xff], WireError(.tooLarge, "pairs.count")),
      (
        "length over the block", [1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0],
        WireError(.truncated, "pairs.data")
      ),
      ("no NUL behind the key", [1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 97, 98, 0], WireError(.malformed, "pairs.data")),
      ("a byte too many", [0, 0, 0, 0, 0], WireError(.trailingBytes, "pairs")),
    ] as [(String, [UInt8], WireError)])
  func malformedBlocksAreRefused(_ name: String, _ bytes: [UInt8], _ error: WireError) {
    #expect(throws: error) { try bytes.withUnsafeBytes { _ = try PairsView($0) } }
  }
}

@Suite struct MessageTests {
  static let frames: [ReportFrame] = [
    .log(level: .warn, request: "id-1", message: "hello"), .dropped(lines: 12),
    .guestLog(.init(level: .info, callback: 3, stream: 9, request: "id-2", totalBytes: 9, message: [1, 0xFF])),
    .guestLogMore([0, 1, 2]),
    .isolation(IsolationLayer.allCases.map { LayerReport(layer: $0, holds: $0.code % 2 == 0, why: "because") }), .ready,
    .fault(reason: .deadline, detail: "ran 100 ms", backtrace: "a\nb"), .tickPeriod(milliseconds: 10),
    .compiled(.init(abi: "proxy_abi_version_0_2_1", exports: ["a", "b"], imports: ["env.proxy_log"])),
    .refused(detail: "no marker"),
  ]
  static let commands: [FrontCommand] = [
    .addWorker(worker: 1, plugin: 2), .workerReady(worker: 3), .retireWorker(worker: 4),
    .pluginState(plugin: 5, state: .quarantined), .drain(milliseconds: 10_000),
    .ping(number: 9), .collectMetrics(number: 7), .prepareChain(generation: 8), .activateChain(generation: 9),
    .discardChain(generation: 10), .collectStatistics(number: 11), .reopenAccessLog,
    .nextStart(plugin: 12, due: .max - 1), .addWorker(worker: 1, plugin: 2, ofLane: true),
    .laneState(plugin: 13, state: .backoff), .clearSuspects(plugin: 14),
    .leaveState, .takeState, .logLevel(.debug),
  ]
  static let events: [FrontEvent] = [
    .serving, .workerFault(worker: 1, reason: .protocolViolation, detail: "x"), .workerGone(worker: 2),
    .workerIdle(worker: 3),
    .workerAttached(worker: 3), .drained,
    .pong(number: 9), .metrics(number: 7, isLast: true, text: "# TYPE a counter\na 1\n"),
    .chainActivated(generation: 8),
    .chainRefused(generation: 9, detail: "why"), .pluginDrained(plugin: 10),
    .workerServed(worker: 11), .workDone([]),
    .workDone([.init(plugin: 12, requests: 13, suspects: 3), .init(plugin: 14, requests: .max)]),
    .spareWanted(plugin: 15),
    .suspected(
      plugin: 16, fingerprint: Fingerprint(request: 1, shape: .max, client: 3), reason: .deadline, requestID: "r",
      what: "GET /"),
    .suspected(plugin: 16, fingerprint: .none, reason: nil, requestID: "", what: ""), .laneWanted(plugin: 17),
    .stateLeft(detail: ""), .stateTaken(detail: "full"),
    .suspectsMatched(
      plugin: 18, Fingerprint.Kind.allCases.map { SuspectMatches(kind: $0, number: .max, count: 2) }),
    .callbackLost(worker: 1, kind: 3, stream: 9, requestID: "r", milliseconds: 100),
    .statistics(number: 1, isLast: false, plugins: []),
    .statistics(
      number: 2, isLast: true,
      plugins: [
        PluginStatistics(
          plugin: 3, callbacks: 4, failedStreams: 5, waitingStreams: 6,
          latencies: [.init(kind: 3, histogram: LatencyHistogram(sumNanoseconds: 7, buckets: [1, 2, 3]))],
          channels: [.init(worker: 8, outstanding: 9, callbackBytes: 10, replyBytes: 11)])
      ]),
  ]

  @Test(arguments: frames) func aReportFrameComesBackThroughThePipe(_ frame: ReportFrame) throws {
    var assembler = FrameAssembler(limit: Limits.maximumReportFrame)
    // A byte at a time: a pipe cuts where it likes.
    for byte in frame.encoded() {
      #expect(try assembler.next() == nil)
      withUnsafeBytes(of: byte) { assembler.append($0) }
    }
    #expect(try assembler.next() == frame)
    #expect(try assembler.next() == nil)
  }

  @Test func textThatIsTooLongIsCutToTheFrame() throws {
    let long = String(repeating: "x", count: 100_000)
    for frame in [
      ReportFrame.log(level: .info, request: long, message: long), .fault(reason: .trap, detail: long, backtrace: long),
      .isolation(IsolationLayer.allCases.map { LayerReport(layer: $0, holds: false, why: long) }),
      .guestLog(
        .init(level: .info, callback: 3, stream: 9, request: long, totalBytes: 9, message: Array(long.utf8))),
      .guestLogMore(Array(long.utf8)),
    ] {
      let bytes = frame.encoded()
      #expect(bytes.count <= Limits.maximumReportFrame)
      var assembler = FrameAssembler(limit: Limits.maximumReportFrame)
      bytes.withUnsafeBytes { assembler.append($0) }
      #expect(try assembler.next() != nil)
    }
  }

  @Test func textThatIsCutSaysHowMuchIsMissing() throws {
    let long = String(repeating: "x", count: 100_000)
    let bytes = ReportFrame.log(level: .info, request: "", message: long).encoded()
    let frame = try bytes.dropFirst(4).withUnsafeBytes { try ReportFrame($0) }
    guard case .log(_, _, let message) = frame else {
      Issue.record("\(frame)")
      return
    }
    let text = message.prefix { $0 == "x" }
    #expect(message == text + " [cut: \(100_000 - text.count) of 100000 bytes are missing]")
  }

  @Test func aFrameOverTheBoundEndsTheStream() {
    var assembler = FrameAssembler(limit: 64)
    ([0xff, 0xff, 0, 0] as [UInt8]).withUnsafeBytes { assembler.append($0) }
    #expect(throws: WireError(.tooLarge, "report.length")) { try assembler.next() }
  }

  @Test(arguments: commands) func aCommandComesBack(_ command: FrontCommand) throws {
    #expect(try command.encoded().withUnsafeBytes { try FrontCommand($0) } == command)
  }

  @Test(arguments: events) func anEventComesBack(_ event: FrontEvent) throws {
    #expect(try event.encoded().withUnsafeBytes { try FrontEvent($0) } == event)
  }

  static let address = NetworkAddress(host: "127.0.0.1", port: 1)
  static let front = FrontBootstrap(
    eventLoops: 2, maximumSpinMicroseconds: 50, logLevel: .info,
    listeners: [.init(name: "edge", address: address, upstream: "app")],
    upstreams: [.init(name: "app", kind: .endpoints([address]))],
    plugins: [
      .init(name: "geo", failStrategy: .failOpen, callbacks: .requestHeaders, callbackDeadline: 100, admissionWait: 9)
    ])
  static let worker = WorkerBootstrap(
    plugin: "geo", rootID: "root", vmID: "", abi: "proxy_abi_version_0_2_1", pluginConfiguration: [1, 2],
    vmConfiguration: [], environment: [(name: "A", value: "b")], memoryLimit: 64 << 20, logLevel: .info,
    logLinesPerSecond: 100, eventLoops: 1, ring: RingSizes(), maximumSpinMicroseconds: 50,
    seccompProgram: Array(repeating: 0, count: 16), unprivilegedID: 65_534,
    layers: [LayerReport(layer: .session, holds: true, why: "setsid")])

  /// With everything that may be left out.
  static let fullFront: FrontBootstrap = {
    var front = MessageTests.front
    front.listeners.append(.init(name: "raw", address: address, upstream: "secure", kind: .tcp))
    front.upstreams.append(
      .init(
        name: "secure", kind: .endpoints([NetworkAddress(host: "::1", port: 2)]), isHTTP2: true,
        tls: .init(serverName: "app.test", authorities: [1], certificate: [2, 3], privateKey: [4])))
    front.plugins[0].vmID = "shared"
    front.plugins[0].openAdmissionWait = 7
    front.plugins[0].callsInFlight = 3
    front.plugins[0].upstreams = ["app", "secure"]
    front.plugins[0].bufferBytes = 64 << 10
    front.plugins[0].failAnswer = .init(status: 403, body: "no")
    front.plugins[0].quarantineStrategy = .failReload
    front.plugins[0].deadlines.headers = 1
    front.plugins[0].deadlines.body = 2
    front.plugins[0].deadlines.log = 3
    front.plugins[0].deadlines.tick = 4
    front.plugins[0].overload = .open
    front.plugins[0].keepsStreams = false
    front.listeners[0].errorDetails = .client
    front.bounds.connectionsPerClient = 8
    front.bounds.bodyRate = ByteCount(bytes: 9)
    front.bounds.sharedBytes = ByteCount(bytes: 1 << 40)
    front.bounds.queues = 5
    front.bounds.metrics = 6
    front.bounds.sharedEntries = 7
    front.accessLogFields = [AccessLogField(name: "agent", property: "request.useragent")]
    front.seccompProgram = [1, 2, 3, 4, 5, 6, 7, 8]
    front.unprivilegedID = 1_901_000_000
    return front
  }()
  static let fullWorker: WorkerBootstrap = {
    var worker = MessageTests.worker
    worker.upstreams = ["app", "secure"]
    worker.callsInFlight = 3
    worker.bufferBytes = 64 << 10
    worker.maximumMapBytes = 128 << 10
    worker.capabilities = ["proxy_log", "fd_write"]
    worker.requiredLayers = IsolationLayer.allCases
    worker.endPauseMicroseconds = 2_000
    worker.keepsStreams = false
    worker.renews = true
    worker.hasServed = true
    worker.guestMemory = 1 << 40
    worker.virtualMachines = 0
    worker.spareMilliseconds = 9
    worker.restrictsUpstreams = true
    worker.mayCallForeign = true
    return worker
  }()

  @Test func bootstrapsWithEverythingComeBack() throws {
    #expect(try Self.fullFront.encoded().withUnsafeBytes { try FrontBootstrap($0) } == Self.fullFront)
    #expect(try Self.fullWorker.encoded().withUnsafeBytes { try WorkerBootstrap($0) } == Self.fullWorker)
  }

  @Test func noCapabilityAtAllIsNotTheSameAsEveryCapability() throws {
    var worker = Self.worker
    worker.capabilities = []
    #expect(try worker.encoded().withUnsafeBytes { try WorkerBootstrap($0) }.capabilities == [])
    worker.capabilities = nil
    #expect(try worker.encoded().withUnsafeBytes { try WorkerBootstrap($0) }.capabilities == nil)
  }

  @Test func anAccessLogWithoutFieldsIsNotTheSameAsNone() throws {
    var front = Self.front
    for fields in [[], nil, [AccessLogField(name: "a", property: "b.c")]] {
      front.accessLogFields = fields
      #expect(try front.encoded().withUnsafeBytes { try FrontBootstrap($0) }.accessLogFields == fields)
    }
  }

  @Test func noUpstreamAtAllIsNotTheSameAsEveryUpstream() throws {
    var front = Self.front
    front.plugins[0].upstreams = []
    #expect(try front.encoded().withUnsafeBytes { try FrontBootstrap($0) }.plugins[0].upstreams == [])
    front.plugins[0].upstreams = nil
    #expect(try front.encoded().withUnsafeBytes { try FrontBootstrap($0) }.plugins[0].upstreams == nil)
  }

  @Test(arguments: [(0, 4 << 20), (1 << 20, 4 << 20), (2 << 20, 8 << 20), (16 << 20, 64 << 20), (Int.max, 64 << 20)])
  func ringsTakeAHeldBodyInOneRecord(_ buffer: Int, _ capacity: Int) {
    let ring = RingSizes(bufferBytes: UInt32(clamping: buffer))
    #expect(ring.replies == UInt32(capacity))
    if buffer <= Limits.maximumBufferBytes { #expect(ring.maximumRecord >= buffer + (256 << 10)) }
  }

  @Test func aFailClosedAnswerHasBounds() {
    for (answer, error) in [
      (FrontBootstrap.FailAnswer(status: 200), WireError(.unknownValue, "failAnswer.status")),
      (.init(status: 600), WireError(.unknownValue, "failAnswer.status")),
      (
        .init(body: String(repeating: "x", count: Limits.maximumFailAnswer + 1)),
        WireError(.tooLarge, "failAnswer.body")
      ),
    ] {
      var front = Self.front
      front.plugins[0].failAnswer = answer
      #expect(throws: error) { try front.encoded().withUnsafeBytes { try FrontBootstrap($0) } }
    }
  }

  @Test func bootstrapsComeBack() throws {
    #expect(try Self.front.encoded().withUnsafeBytes { try FrontBootstrap($0) } == Self.front)
    #expect(try Self.worker.encoded().withUnsafeBytes { try WorkerBootstrap($0) } == Self.worker)
  }

  @Test(arguments: ["", "a b", "::1]", "h:80", "a\u{0}", "1.2.3", "\u{fffd}"])
  func anUpstreamWithAnEndpointThatIsNoneIsRefused(_ host: String) {
    var front = Self.front
    front.upstreams[0].kind = .endpoints([Self.address, NetworkAddress(host: host, port: 1)])
    #expect(throws: WireError(.malformed, "address.host")) {
      try front.encoded().withUnsafeBytes { try FrontBootstrap($0) }
    }
  }

  @Test func upstreamsOfOneNameAreRefused() {
    var front = Self.front
    front.upstreams.append(front.upstreams[0])
    #expect(throws: WireError(.malformed, "upstream.name")) {
      try front.encoded().withUnsafeBytes { try FrontBootstrap($0) }
    }
  }

  @Test func aListenerWithoutItsUpstreamIsRefused() {
    var front = Self.front
    front.upstreams = []
    #expect(throws: WireError(.unknownValue, "listener.upstream")) {
      try front.encoded().withUnsafeBytes { try FrontBootstrap($0) }
    }
  }
}

@Suite struct RecordTests {
  static func callback() -> [UInt8] {
    var writer = WireWriter()
    writer.callbackHead(.requestHeaders, flags: [.endOfStream, .firstOfStream], stream: 7, sequence: 9)
    var blob = writer.beginBlob()
    writer.pairs([("source\0address", "127.0.0.1:1")])
    writer.endBlob(blob)
    writer.emptyBlob()
    blob = writer.beginBlob()
    writer.pairs([(":method", "GET"), ("a", "b")])
    writer.endBlob(blob)
    writer.emptyBlob()
    writer.emptyBlob()
    return writer.array
  }

  static func reply() -> [UInt8] {
    var writer = WireWriter()
    let at = writer.replyHead(.callbackDone, stream: 7, sequence: 9)
    let key = Array("k".utf8)
    let value = Array("v".utf8)
    key.withUnsafeBytes { key in
      value.withUnsafeBytes { value in
        writer.edit(.add, .requestHeaders, key: key, value: value)
        writer.edit(.remove, .responseHeaders, key: key, value: UnsafeRawBufferPointer(start: nil, count: 0))
      }
    }
    value.withUnsafeBytes { value in
      writer.localResponse(
        status: 403, grpcStatus: -1, details: value, body: value,
        serializedHeaders: UnsafeRawBufferPointer(start: nil, count: 0))
    }
    writer.replyCounts(at: at, flags: [.localResponse], operations: 2)
    return writer.array
  }

  @Test func aCallbackComesBack() throws {
    try Self.callback().withUnsafeBytes { bytes in
      let record = try CallbackRecord(bytes)
      #expect(record.kind == .requestHeaders)
      #expect(record.flags == [.endOfStream, .firstOfStream])
      #expect(record.stream == 7)
      #expect(record.sequence == 9)
      #expect(record.requestHeaders.strings.map(\.0) == [":method", "a"])
      #expect(record.connectionProperties.count == 1)
      #expect(record.responseHeaders.count == 0)
    }
  }

  @Test func aReplyComesBack() throws {
    try Self.reply().withUnsafeBytes { bytes in
      var reply = try ReplyRecord(bytes)
      #expect(reply.kind == .callbackDone)
      #expect(reply.flags == [.localResponse])
      #expect(reply.operationCount == 2)
      let first = try ReplyOperation(&reply.rest)
      #expect(first.code == .add)
      #expect(String(decoding: first.key, as: UTF8.self) == "k")
      let second = try ReplyOperation(&reply.rest)
      #expect(second.map == .responseHeaders)
      let local = try LocalResponse(&reply.rest)
      #expect(local.status == 403)
      try reply.rest.end("reply")
    }
  }
}

/// No bytes trap a decoder: each gives a value or an error, whatever a peer sends.
@Suite struct HostileBytesTests {
  static func decodeEverything(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { raw in
      _ = try? ReportFrame(raw)
      _ = try? FrontCommand(raw)
      _ = try? FrontEvent(raw)
      _ = try? FrontBootstrap(raw)
      _ = try? WorkerBootstrap(raw)
      _ = try? CallbackRecord(raw)
      _ = (try? PairsView(raw))?.strings
      if var reply = try? ReplyRecord(raw) {
        for _ in 0..<reply.operationCount {
          guard let operation = try? ReplyOperation(&reply.rest) else { break }
          ProxyWasmRecordTests.decodeEverything(operation)
        }
        _ = try? LocalResponse(&reply.rest)
        _ = try? HostcallRequest(&reply.rest)
      }
      _ = try? HTTPCallResult(raw)
      _ = try? GRPCEvent(raw)
      _ = try? GRPCEnd(raw)
      _ = try? HostcallAnswer(raw)
      var assembler = FrameAssembler(limit: Limits.maximumReportFrame)
      assembler.append(raw)
      while let frame = try? assembler.next() { _ = frame }
    }
  }

  @Test(arguments: 0..<64) func randomBytesNeverTrap(_ seed: UInt64) {
    var random = SplitMix(state: seed)
    for _ in 0..<400 { Self.decodeEverything(random.bytes(Int.random(in: 0...300, using: &random))) }
  }

  @Test(arguments: 0..<64) func damagedMessagesNeverTrap(_ seed: UInt64) {
    var random = SplitMix(state: seed &+ 1_000)
    let seeds: [[UInt8]] =
      [
        RecordTests.callback(), RecordTests.reply(), MessageTests.front.encoded(), MessageTests.worker.encoded(),
        MessageTests.fullFront.encoded(), MessageTests.fullWorker.encoded(),
      ] + ProxyWasmRecordTests.seeds + MessageTests.frames.map { Array($0.encoded().dropFirst(4)) }
      + MessageTests.commands.map { $0.encoded() }
      + MessageTests.events.map { $0.encoded() }
    for _ in 0..<40 { for bytes in seeds { Self.decodeEverything(random.mutated(bytes)) } }
  }
}
