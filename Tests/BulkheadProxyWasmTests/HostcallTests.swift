import BulkheadCore
import BulkheadProxyWasm
import BulkheadWire
import ProxyWasmABI
import Testing

@Suite struct HostcallTests {
  // MARK: Local responses and resuming

  @Test func aLocalResponseTravelsInTheReply() throws {
    let harness = try Harness()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      var writer = WireWriter()
      writer.pairs([("X-Why", "because"), (":status", "500")])
      let (headers, headersSize) = harness.guest.put(writer.array)
      let (body, bodySize) = harness.guest.put("no")
      let (details, detailsSize) = harness.guest.put("denied")
      for status in [403 as UInt32, 404, 99, 600] {
        #expect(
          harness.call(
            .sendLocalResponse, status, details, detailsSize, body, bodySize, headers, headersSize, .max) == .ok)
      }
      return 1
    }
    try harness.run(.requestHeaders)
    let reply = try harness.reply()
    #expect(reply.flags == .localResponse)
    #expect(reply.status == 403, "the first one stands")
    #expect(reply.grpcStatus == -1)
    #expect(reply.body == "no")
    #expect(reply.headers == ["x-why=because"])
  }

  @Test(arguments: [(0, 0), (16, 16), (17, -1), (-1, -1)] as [(Int32, Int32)])
  func aGrpcStatusOutsideItsRangeIsUnset(given: Int32, sent: Int32) throws {
    let harness = try Harness()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.call(.sendLocalResponse, 200, 0, 0, 0, 0, 0, 0, UInt32(bitPattern: given)) == .ok)
      return 0
    }
    try harness.run(.requestHeaders)
    #expect(try harness.reply().grpcStatus == sent)
  }

  @Test func aLocalResponseThatNoReplyHoldsIsAnErrorToTheClient() throws {
    let harness = try Harness { $0.maximumReply = 16 << 10 }
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.call(.sendLocalResponse, 200, 0, 0, 0, 20_000, 0, 0, 0) == .ok)
      #expect(harness.call(.sendLocalResponse, 200, 0, 0, 0, 10_000, 0, 0, 0) == .ok)
      return 1
    }
    try harness.run(.requestHeaders)
    let reply = try harness.reply()
    #expect(reply.flags == .localResponse && reply.status == 500)
    #expect(harness.services.logs.contains { $0.message.contains("what a plugin says in one callback") })
  }

  @Test func outsideAStreamNothingIsAnsweredResumedOrClosed() throws {
    let harness = try Harness()
    #expect(harness.call(.sendLocalResponse, 200, 0, 0, 0, 0, 0, 0, 0) == .ok)
    for type in 0..<4 as Range<UInt32> {
      #expect(harness.call(.continueStream, type) == .ok)
      #expect(harness.call(.closeStream, type) == .ok)
    }
    #expect(harness.call(.continueStream, 4) == .badArgument)
    #expect(harness.call(.closeStream, 4) == .badArgument)
    #expect(try harness.replies().isEmpty)
  }

  @Test func aPausedStreamIsResumedAndChangedFromATick() throws {
    let harness = try Harness()
    harness.guest.callbacks[.requestHeaders] = { _, _, _ in 1 }
    try harness.run(.requestHeaders, stream: 9, loop: 2)
    #expect(try harness.reply().flags == .pause)
    var mayEdit = Status.ok
    harness.guest.callbacks[.tick] = { [unowned harness] _, _, _ in
      #expect(harness.call(.setEffectiveContext, 2) == .ok)
      #expect(harness.edit(.addHeaderMapValue, .requestHeaders, "late", "1") == mayEdit)
      #expect(harness.call(.continueStream, 0) == .ok)
      #expect(harness.call(.continueStream, 0) == .ok, "what runs already is no error")
      #expect(harness.call(.continueStream, 2) == .unimplemented)
      return 0
    }
    try harness.host.tick()
    let loop = harness.services.replies.last?.loop
    let action = try harness.reply()
    #expect(loop == 2)
    #expect(action.kind == .streamAction)
    #expect(action.stream == 9)
    #expect(action.sequence == 0)
    #expect(action.flags == .continueRequest)
    #expect(action.edits == ["add requestHeaders late=1"])
    mayEdit = .badArgument
    try harness.host.tick()
    #expect(try harness.replies().isEmpty, "it may not be changed any more, and does not wait")
  }

  @Test func aPausedStreamIsAnsweredFromAnotherStreamsCallback() throws {
    let harness = try Harness()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] id, _, _ in
      if id == 2 { return 1 }
      #expect(harness.call(.setEffectiveContext, 2) == .ok)
      #expect(harness.call(.sendLocalResponse, 429, 0, 0, 0, 0, 0, 0, .max) == .ok)
      return 0
    }
    try harness.run(.requestHeaders, stream: 1)
    try harness.run(.requestHeaders, stream: 2)
    let replies = try harness.replies()
    #expect(replies.map(\.stream) == [1, 2, 1])
    #expect(replies.map(\.kind) == [.callbackDone, .callbackDone, .streamAction])
    #expect(replies.map(\.status) == [nil, nil, 429])
  }

  @Test func resumingInsideTheCallbackBeatsItsPause() throws {
    let harness = try Harness()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.call(.continueStream, 0) == .ok)
      return 1
    }
    try harness.run(.requestHeaders)
    #expect(try harness.reply().flags == [])
  }

  @Test func closingAStreamIsAFlag() throws {
    let harness = try Harness()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.call(.closeStream, 0) == .ok)
      return 1
    }
    try harness.run(.requestHeaders)
    #expect(try harness.reply().flags == .closeStream)
  }

  // MARK: Properties

  @Test func propertiesComeFromHeadersFrontAndPlugin() throws {
    let harness = try Harness()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      let text: (String...) -> String? = { parts in
        harness.property(parts.joined(separator: "\0")).map { String(decoding: $0, as: UTF8.self) }
      }
      #expect(text("request", "path") == "/a/b?q=1")
      #expect(text("request", "url_path") == "/a/b")
      #expect(text("request", "query") == "q=1")
      #expect(text("request", "host") == "example.org")
      #expect(text("request", "scheme") == "http")
      #expect(text("request", "method") == "GET")
      #expect(text("request", "useragent") == "test")
      #expect(text("request", "id") == "id-1")
      #expect(text("request", "headers", "user-agent") == "test")
      #expect(text("request", "headers", "nothing") == nil)
      #expect(text("request", "referer") == nil)
      #expect(text("request", "protocol") == "HTTP/1.1")
      #expect(harness.property("request", "size") == PropertyValue.bytes(12 as Int64))
      #expect(text("source", "address") == "127.0.0.1:4711")
      #expect(text("source", "address", "") == "127.0.0.1:4711", "the C++ SDK ends paths with a NUL")
      #expect(harness.property("connection", "mtls") == [0])
      #expect(text("plugin_name") == "demo")
      #expect(text("plugin_root_id") == "root")
      #expect(text("plugin_vm_id") == "vm")
      #expect(text("xds", "cluster_name") == nil)
      #expect(text("response", "code") == nil)
      let headers = (try? harness.property("request", "headers")?.withUnsafeBytes { try PairsView($0).count }) ?? nil
      #expect(headers == Harness.request.count)
      let (path, pathSize) = harness.guest.put("my\0own")
      let (value, valueSize) = harness.guest.put("1")
      #expect(harness.call(.setProperty, path, pathSize, value, valueSize) == .ok)
      #expect(text("my", "own") == "1")
      return 0
    }
    try harness.run(.requestHeaders, properties: [("request\0protocol", "HTTP/1.1")])
    #expect(harness.property("my", "own") == nil, "the root does not see a stream's")
    harness.guest.callbacks[.responseHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.property("my", "own") == [UInt8(ascii: "1")])
      #expect(harness.property("response", "code") == PropertyValue.bytes(200 as Int64))
      #expect(harness.property("response", "flags") == PropertyValue.bytes(3 as Int64))
      #expect(harness.property("request", "protocol") != nil, "what came first stays")
      return 0
    }
    let flags = String(decoding: PropertyValue.bytes(3 as Int64), as: UTF8.self)
    try harness.run(.responseHeaders, properties: [("response\0flags", flags)])
  }

  @Test func ownPropertiesAreBounded() throws {
    let harness = try Harness()
    let (value, valueSize) = harness.guest.put("v")
    var accepted = 0
    for index in 0..<400 {
      let (path, size) = harness.guest.put("key\(index)")
      if harness.call(.setProperty, path, size, value, valueSize) == .ok { accepted += 1 }
    }
    #expect(accepted == 256)
    let (path, size) = harness.guest.put("key0")
    #expect(harness.call(.setProperty, path, size, 0, 100_000) == .internalFailure)
  }

  // MARK: Logging, clocks, contexts

  @Test func theLevelThatIsLoggedMayChangeWhileThePluginRuns() throws {
    let harness = try Harness()
    let (at, size) = harness.guest.put("hello")
    harness.services.logLevel = .debug
    #expect(harness.call(.log, 1, at, size) == .ok)
    #expect(harness.call(.getLogLevel, harness.out) == .ok)
    #expect(harness.guest.word(harness.out) == 1)
    harness.services.logLevel = .error
    #expect(harness.call(.log, 3, at, size) == .ok, "below the level: taken, not passed on")
    harness.services.logLevel = nil
    #expect(harness.call(.log, 2, at, size) == .ok)
    #expect(harness.services.logs.map(\.level) == [.debug, .info])
  }

  @Test func logLinesCarryLevelAndStream() throws {
    let harness = try Harness()
    let (at, size) = harness.guest.put("hello")
    #expect(harness.call(.log, 3, at, size) == .ok)
    #expect(harness.call(.log, 1, at, size) == .ok, "below the level: taken, not passed on")
    #expect(harness.call(.log, 6, at, size) == .badArgument)
    #expect(harness.call(.log, 3, .max, 10) == .invalidMemoryAccess)
    #expect(harness.call(.getLogLevel, harness.out) == .ok)
    #expect(harness.guest.word(harness.out) == 2)
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.call(.log, 4, at, size) == .ok)
      return 0
    }
    try harness.run(.requestHeaders)
    try harness.run(.requestHeaders, stream: 12, request: [(":path", "/")])
    #expect(harness.services.logs.map(\.stream) == ["", "id-1", "12"])
    #expect(harness.services.logs.map(\.level) == [.warn, .error, .error])
    #expect(harness.services.logs.allSatisfy { $0.message == "hello" })
  }

  @Test func timeIsTold() throws {
    let harness = try Harness()
    #expect(harness.call(.getCurrentTimeNanoseconds, harness.out) == .ok)
    #expect(
      harness.guest.bytes.loadUnaligned(fromByteOffset: Int(harness.out), as: UInt64.self) == 1_700_000_000_000_000_000)
    #expect(harness.call(.getCurrentTimeNanoseconds, UInt32(harness.guest.bytes.count) - 7) == .invalidMemoryAccess)
  }

  @Test func whatIsNotImplementedSaysSo() throws {
    let harness = try Harness()
    for function in Hostcall.allCases where !function.isImplemented {
      let (outcome, result) = harness.raw(.hostcall(function), Array(repeating: 0, count: 12))
      #expect(outcome == .returned)
      #expect(Status(rawValue: result) == .unimplemented, "\(function.name)")
    }
  }

  @Test func hostcallsThatChangeThingsAreRefusedWhileTheGuestAllocates() throws {
    let harness = try Harness()
    harness.guest.callbacks[.malloc] = { [unowned harness] size, _, _ in
      let (key, keySize) = (harness.out + 16, UInt32(1))
      #expect(harness.call(.addHeaderMapValue, 0, key, keySize, key, 0) == .internalFailure)
      #expect(harness.call(.getProperty, key, keySize, harness.out, harness.out + 4) == .internalFailure)
      let (at, length) = harness.guest.put("allocating")
      #expect(harness.call(.log, 2, at, length) == .ok)
      return harness.guest.allocate(size)
    }
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.header(.requestHeaders, "user-agent") == "test")
      return 0
    }
    try harness.run(.requestHeaders)
    #expect(harness.services.logs.map(\.message) == ["allocating"])
  }

  @Test(arguments: [0, 0xFFFF_FFF0, 1 << 31] as [UInt32])
  func anAllocatorThatGivesNonsenseIsNotBelieved(address: UInt32) throws {
    let harness = try Harness()
    harness.guest.callbacks[.memoryAllocate] = { _, _, _ in address }
    #expect(harness.call(.getBufferBytes, 7, 0, 100, harness.out, harness.out + 4) == .invalidMemoryAccess)
  }

  // MARK: WASI

  @Test func aLineOfAPluginIsMarkedAndBounded() throws {
    let harness = try Harness()
    let (at, size) = harness.guest.put([UInt8](repeating: 0x61, count: Limits.maximumLogLine + 5))
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.call(.log, 3, at, size) == .ok)
      return 0
    }
    try harness.run(.requestHeaders)
    #expect(harness.services.lines.map(\.isGuest) == [true])
    #expect(harness.services.lines.map(\.callback) == [.requestHeaders])
    #expect(harness.services.lines.first?.totalBytes == Limits.maximumLogLine + 5)
    #expect(harness.services.logs.first?.message.utf8.count == Limits.maximumLogLine)
  }

  @Test func standardOutputAndErrorAreLoggedLineByLine() throws {
    let harness = try Harness()
    func write(_ descriptor: UInt32, _ pieces: String...) -> WASIError? {
      var vector: [UInt8] = []
      for piece in pieces {
        let (at, size) = harness.guest.put(piece)
        for word in [at, size] { vector += (0..<4).map { UInt8(truncatingIfNeeded: word >> (8 * $0)) } }
      }
      let (at, _) = harness.guest.put(vector)
      return harness.wasi(.fdWrite, descriptor, at, UInt32(pieces.count), harness.out)
    }
    #expect(write(1, "one\ntwo", " and more") == .success)
    #expect(harness.guest.word(harness.out) == 16)
    #expect(harness.services.logs.map(\.message) == ["one"])
    #expect(write(1, "\n\n") == .success)
    #expect(write(2, "panic: ", "no end") == .success)
    harness.host.flushOutput()
    #expect(harness.services.logs.map(\.message) == ["one", "two and more", "panic: no end"])
    #expect(harness.services.logs.map(\.level) == [.info, .info, .error])
    #expect(write(3, "x") == .badDescriptor)
    #expect(harness.wasi(.fdWrite, 1, 0xFFFF_FFF8, 2, harness.out) == .fault)
    #expect(harness.wasi(.fdWrite, 1, 0, .max, harness.out) == .invalid)
  }

  @Test func theEnvironmentIsThePluginsOwn() throws {
    let harness = try Harness()
    let out = harness.out
    #expect(harness.wasi(.environSizesGet, out, out + 4) == .success)
    #expect(harness.guest.word(out) == 2)
    #expect(harness.guest.word(out + 4) == 11)
    let array = harness.guest.allocate(8)
    let buffer = harness.guest.allocate(16)
    #expect(harness.wasi(.environGet, array, buffer) == .success)
    #expect(harness.text(buffer, 11) == "A=b\0HOME=/\0")
    #expect(harness.guest.word(array) == buffer)
    #expect(harness.guest.word(array + 4) == buffer + 4)
    #expect(harness.wasi(.environGet, array, UInt32(harness.guest.bytes.count) - 2) == .fault)
  }

  @Test func wasiRefusesInTheWayThatProgramsExpect() throws {
    let harness = try Harness()
    let out = harness.out
    #expect(harness.wasi(.argsSizesGet, out, out + 4) == .success)
    #expect(harness.wasi(.fdPrestatGet, 3, out) == .badDescriptor)
    #expect(harness.wasi(.pathOpen, 3, 0, 0, 0, 0, 0, 0, 0, out) == .noEntry)
    #expect(harness.wasi(.pollOneoff, 0, 0, 1, out) == .success)
    #expect(harness.guest.word(out) == 0)
    #expect(harness.wasi(.randomGet, out, 8) == .success)
    #expect(harness.guest.word(out) == 0x0707_0707)
    #expect(harness.wasi(.randomGet, out, 65_537) == .invalid)
    #expect(harness.wasi(.randomGet, .max, 8) == .fault)
    #expect(harness.wasi(.clockTimeGet, 1, 0, out) == .success)
    #expect(harness.guest.word(out) == 42)
    #expect(harness.wasi(.clockTimeGet, 2, 0, out) == .notSupported)
    #expect(harness.wasi(.schedYield) == .success)
    #expect(harness.wasi(.fdFdstatGet, 1, out) == .success)
    #expect(harness.wasi(.fdFdstatGet, 3, out) == .badDescriptor)
    let (outcome, _) = harness.raw(.wasi(.procExit), [3])
    #expect(outcome == .exit(3))
  }

  @Test func everyImportOfTheSpecificationIsThereUnderBothModules() {
    let names = Set(HostImport.all.map { "\($0.module).\($0.name)" })
    #expect(names.count == HostImport.all.count - Hostcall.withoutResult.count, "those have two types each")
    #expect(names.contains("env.proxy_get_log_level"))
    #expect(names.contains("wasi_unstable.fd_write"))
    #expect(
      HostImport.unknown(among: ["env.proxy_log", "env.proxy_lag", "x.proxy_log"]) == ["env.proxy_lag", "x.proxy_log"])
    #expect(
      HostImport.unimplemented(among: ["env.proxy_log", "env.proxy_redis_call", "wasi_unstable.fd_read"])
        == ["env.proxy_redis_call"])
    for entry in HostImport.all { #expect(HostImport(number: entry.function.number) == entry.function) }
  }

  @Test func theAbiIsTheMarker() throws {
    #expect(try ABIVersion.detect(exports: ["memory", "proxy_abi_version_0_2_0"]) == .version020)
    #expect(try ABIVersion.detect(exports: ["proxy_abi_version_0_2_1", "proxy_abi_version_0_2_0"]) == .version021)
    #expect(throws: ABIError.noMarker) { try ABIVersion.detect(exports: ["memory"]) }
    #expect(try ABIVersion.detect(exports: ["proxy_abi_version_0_1_0"]) == .version010)
    #expect(try ABIVersion.detect(exports: ["proxy_abi_version_0_2_100"]) == .version02100)
    #expect(throws: ABIError.unsupported(["proxy_abi_version_0_3_0"])) {
      try ABIVersion.detect(exports: ["proxy_abi_version_0_3_0"])
    }
  }
}
