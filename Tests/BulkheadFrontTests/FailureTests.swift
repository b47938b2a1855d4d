import BulkheadCore
import BulkheadTestSupport
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// The failure table of the design, with workers that die, hang or lie.
@Suite(.serialized) struct FailureTests {
  enum Moment: CaseIterable, Sendable { case request, response }

  /// FAIL_OPEN serves, the others answer 503 and say why.
  private func expect(_ response: TestResponse, _ strategy: FailStrategy, _ why: String) {
    if strategy == .failOpen {
      #expect(response.status == 200)
    } else {
      #expect(response.status == 503)
      #expect(response.body.contains("plugin guard is unavailable"))
      #expect(response.body.contains(why))
      #expect(response.head.contains("x-request-id: "))
    }
  }

  @Test(arguments: FailStrategy.allCases, Moment.allCases)
  func theStreamThatTheWorkerDiedOnFailsByItsStrategy(strategy: FailStrategy, moment: Moment) throws {
    let front = try TestFront(plugins: [.test("guard", strategy)])
    defer { front.stop() }
    let kind: CallbackKind = moment == .request ? .requestHeaders : .responseHeaders
    let worker = try front.addWorker { callback, _ in callback.kind == kind ? .die : .goOn() }
    expect(try front.get(), strategy, "its worker died")
    try front.waitForEvent { $0 == .workerGone(worker: worker.number) }
    // The replacement serves as if nothing had been.
    try front.addWorker { _, _ in .goOn() }
    #expect(try front.get().status == 200)
  }

  @Test(arguments: FailStrategy.allCases, Moment.allCases)
  func aCallbackPastItsDeadlineFailsTheStreamAndTheWorker(strategy: FailStrategy, moment: Moment) throws {
    let front = try TestFront(plugins: [.test("guard", strategy, deadline: 60)])
    defer { front.stop() }
    let kind: CallbackKind = moment == .request ? .requestHeaders : .responseHeaders
    let worker = try front.addWorker { callback, _ in callback.kind == kind ? .hang : .goOn() }
    expect(try front.get(), strategy, "its callback ran past the deadline")
    let fault = try front.fault(of: worker)
    #expect(fault.reason == .deadline)
    #expect(fault.detail.contains("60 ms"))
    // The front holds on until the worker is dead.
    worker.die()
    try front.waitForEvent { $0 == .workerGone(worker: worker.number) }
  }

  @Test(arguments: FailStrategy.allCases, Moment.allCases)
  func callbacksOfStreamsNewToTheWorkerGoToTheReplacement(strategy: FailStrategy, moment: Moment) throws {
    let callbacks: CallbackSet = moment == .request ? [.requestHeaders, .responseHeaders, .log] : [.responseHeaders]
    let front = try TestFront(plugins: [.test("guard", strategy, callbacks, admission: 60_000)])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .dieUnseen }
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    try front.waitForEvent { $0 == .workerGone(worker: worker.number) }
    let replacement = try front.addWorker { _, _ in .goOn() }
    #expect(TestResponse(client.readToEnd()).status == 200)
    #expect(replacement.seen.first?.kind == (moment == .request ? .requestHeaders : .responseHeaders))
    #expect(replacement.seen.first?.flags.contains(.firstOfStream) == true)
  }

  @Test(arguments: FailStrategy.allCases)
  func aCallbackThatNoWorkerHadBegunOutlivesAnyNumberOfThemWithinItsAdmissionWait(strategy: FailStrategy) throws {
    let front = try TestFront(plugins: [.test("guard", strategy, admission: 60_000)])
    defer { front.stop() }
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    for _ in 0..<6 {
      let worker = try front.addWorker { _, _ in .dieUnseen }
      try front.waitForEvent { $0 == .workerGone(worker: worker.number) }
    }
    let last = try front.addWorker { _, _ in .goOn() }
    #expect(TestResponse(client.readToEnd()).status == 200)
    #expect(last.seen.first?.kind == .requestHeaders, "filtered, not let through")
  }

  @Test(arguments: FailStrategy.allCases)
  func whereTheAdmissionWaitIsOverAThirdLostWorkerFailsTheStream(strategy: FailStrategy) throws {
    let front = try TestFront(plugins: [.test("guard", strategy, admission: 0)])
    defer { front.stop() }
    for _ in 0..<3 { try front.addWorker { _, _ in .dieUnseen } }
    let fourth = try front.addWorker { _, _ in .goOn() }
    expect(try front.get(), strategy, "its worker died")
    #expect(fourth.seen(.requestHeaders).isEmpty)
  }

  @Test(arguments: FailStrategy.allCases)
  func withoutAReadyWorkerTheAdmissionWaitDecides(strategy: FailStrategy) throws {
    let front = try TestFront(plugins: [.test("guard", strategy, admission: 80)])
    defer { front.stop() }
    expect(try front.get(), strategy, "no worker became ready within 80 ms")
    // One that is attached but does not serve yet is none.
    let worker = try front.addWorker(ready: false) { _, _ in .goOn() }
    expect(try front.get(), strategy, "no worker became ready")
    try front.ready(worker)
    #expect(try front.get().status == 200)
  }

  @Test func aStreamWaitsForTheWorkerThatBecomesReady() throws {
    let front = try TestFront(plugins: [.test("guard", .failReload)])
    defer { front.stop() }
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    try front.addWorker { _, _ in .goOn([(.add, .responseHeaders, "x-late", "1")]) }
    let response = TestResponse(client.readToEnd())
    #expect(response.status == 200)
    #expect(response.has("x-late: 1"))
  }

  @Test(arguments: FailStrategy.allCases)
  func aQuarantinedPluginFailsStreamsWithoutAWait(strategy: FailStrategy) throws {
    let front = try TestFront(plugins: [.test("guard", strategy, admission: 60_000)])
    defer { front.stop() }
    let waiting = try TestClient(port: front.ports[0])
    waiting.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    try front.command(.pluginState(plugin: 0, state: .quarantined))
    expect(TestResponse(waiting.readToEnd()), strategy, "quarantined")
    expect(try front.get(), strategy, "quarantined")
    try front.command(.pluginState(plugin: 0, state: .starting))
    try front.addWorker { _, _ in .goOn() }
    #expect(try front.get().status == 200)
  }

  @Test func aQuarantinedPluginMayHaveAnotherStrategy() throws {
    for (own, quarantined) in [(FailStrategy.failClose, FailStrategy.failOpen), (.failOpen, .failClose)] {
      var plugin = FrontBootstrap.Plugin.test("guard", own, admission: 0)
      plugin.quarantineStrategy = quarantined
      let front = try TestFront(plugins: [plugin])
      defer { front.stop() }
      // Commands come into force before long, in their order.
      for (state, strategy) in [(PluginState.quarantined, quarantined), (.starting, own), (.quarantined, quarantined)] {
        try front.command(.pluginState(plugin: 0, state: state))
        let status = strategy == .failOpen ? 200 : 503
        let end = ContinuousClock.now + .seconds(30)
        while try front.get().status != status, ContinuousClock.now < end {}
        #expect(try front.get().status == status)
      }
    }
  }

  @Test func aFailClosedAnswerIsWhatThePolicySays() throws {
    // A worker that was just said to be ready is waited for.
    var plugin = FrontBootstrap.Plugin.test("guard", admission: 500)
    plugin.failAnswer = .init(status: 403, body: "come back later")
    let front = try TestFront(plugins: [plugin])
    defer { front.stop() }
    let response = try front.get()
    #expect(response.status == 403)
    #expect(response.body == "come back later")
    #expect(response.has("content-length: 15"))
    #expect(response.has("content-type: text/plain; charset=utf-8"))
    // Only the plugin's failure is told so, not what is refused for other reasons.
    #expect(try front.exchange("GET / HTTP/1.1\r\nConnection: close\r\n\r\n").status == 400)
  }

  @Test func aFailClosedAnswerIsGivenForADeathToo() throws {
    var plugin = FrontBootstrap.Plugin.test("guard")
    plugin.failAnswer = .init(status: 403, body: "come back later")
    let front = try TestFront(plugins: [plugin])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .die }
    let response = try front.get()
    #expect(response.status == 403)
    #expect(response.body == "come back later")
    try front.waitForEvent { $0 == .workerGone(worker: worker.number) }
  }

  @Test func aFailClosedAnswerMayBeEmpty() throws {
    var plugin = FrontBootstrap.Plugin.test("guard", admission: 0)
    plugin.failAnswer = .init(status: 599, body: "")
    let front = try TestFront(plugins: [plugin])
    defer { front.stop() }
    let response = try front.get()
    #expect(response.status == 599)
    #expect(response.body.isEmpty)
    #expect(response.has("content-length: 0"))
  }

  @Test func aStreamWithStateInALostWorkerFailsAtItsNextCallback() throws {
    let front = try TestFront(plugins: [.test("guard"), .test("slow", .failOpen)])
    defer { front.stop() }
    let first = try front.addWorker(plugin: 0) { _, _ in .goOn() }
    let slow = try front.addWorker(plugin: 1) { callback, _ in callback.kind == .requestHeaders ? .pause : .goOn() }
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    try slow.waitForSeen(1)
    first.die()
    try front.waitForEvent { $0 == .workerGone(worker: first.number) }
    try front.addWorker(plugin: 0) { _, _ in .goOn() }
    slow.act(stream: slow.seen[0].stream, flags: .continueRequest)
    #expect(TestResponse(client.readToEnd()).status == 503)
  }

  @Test func aStreamThatALostWorkerPausedDoesNotWaitForEver() throws {
    let front = try TestFront(plugins: [.test("guard", .failOpen)])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .pause }
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    try worker.waitForSeen(1)
    worker.die()
    #expect(TestResponse(client.readToEnd()).status == 200)
  }

  @Test func aRetiredWorkerFinishesWhatItHasAndGetsNothingNew() throws {
    let front = try TestFront(plugins: [.test("guard")])
    defer { front.stop() }
    let old = try front.addWorker { callback, _ in callback.kind == .requestHeaders ? .pause : .goOn() }
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    try old.waitForSeen(1)
    let new = try front.addWorker { _, _ in .goOn() }
    try front.command(.retireWorker(worker: old.number))
    // The front has done as it was told.
    let loop = try #require(front.front.loops.first)
    try waitUntil {
      (try? loop.eventLoop.submit { loop.engine.chain.plugins.first?.workers.first?.worker }.wait()) == new.number
    }
    #expect(try front.get().status == 200)
    old.act(stream: old.seen[0].stream, flags: .continueRequest)
    #expect(TestResponse(client.readToEnd()).status == 200)
    #expect(old.seen.filter { $0.kind == .responseHeaders }.count == 1)
    #expect(new.seen.filter { $0.kind == .requestHeaders }.count == 1)
  }

  @Test func aRecordThatIsLargerThanTheRingFailsTheStreamAlone() throws {
    let front = try TestFront(plugins: [.test("guard", .failClose, deadline: 10_000)]) {
      $0.ring.callbacks = 4 << 10
      $0.ring.replies = 4 << 10
    }
    defer { front.stop() }
    let worker = try front.addWorker { _, index in index == 0 ? .pause : .goOn() }
    let large = String(repeating: "x", count: 6_000)
    #expect(try front.get("/", headers: "X-Large: \(large)\r\n").body.contains("larger than its ring"))
    #expect(front.events.allSatisfy { if case .workerFault = $0 { false } else { true } })
    _ = worker
  }

  @Test func aFullRingMakesStreamsWaitForRoom() throws {
    let front = try TestFront(plugins: [.test("guard", .failClose, deadline: 10_000)]) {
      $0.ring.callbacks = 4 << 10
      $0.ring.replies = 4 << 10
    }
    defer { front.stop() }
    _ = try front.addWorker { _, _ in .goOn() }
    // Each record takes most of the ring, so that no two fit at once.
    let large = String(repeating: "x", count: 2_500)
    let clients = try (0..<8).map { _ in try TestClient(port: front.ports[0]) }
    for client in clients { client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Large: \(large)\r\nConnection: close\r\n\r\n") }
    for client in clients { #expect(TestResponse(client.readToEnd()).status == 200) }
  }

  // MARK: Hostile replies

  private static func reply(
    _ kind: UInt16 = 1, flags: UInt16 = 0, stream: UInt32, sequence: UInt64, edits: UInt32 = 0, rest: [UInt8] = []
  ) -> [UInt8] {
    var writer = WireWriter()
    writer.u16(kind)
    writer.u16(flags)
    writer.u32(stream)
    writer.u64(sequence)
    writer.u32(edits)
    rest.withUnsafeBytes { writer.raw($0) }
    return writer.array
  }

  static let lies: [(String, @Sendable (SeenCallback) -> [UInt8])] = [
    ("nothing", { _ in [] }),
    ("too short", { _ in [1, 0, 0] }),
    ("unknown kind", { reply(9, stream: $0.stream, sequence: $0.sequence) }),
    ("unknown flags", { reply(flags: 0xFF00, stream: $0.stream, sequence: $0.sequence) }),
    ("wrong sequence", { reply(stream: $0.stream, sequence: $0.sequence &+ 1) }),
    ("largest sequence", { reply(stream: $0.stream, sequence: .max) }),
    ("foreign stream", { reply(stream: $0.stream &+ 1, sequence: $0.sequence) }),
    ("no stream", { reply(stream: .max, sequence: $0.sequence) }),
    ("edits that are not there", { reply(stream: $0.stream, sequence: $0.sequence, edits: 3) }),
    ("too many edits", { reply(stream: $0.stream, sequence: $0.sequence, edits: .max) }),
    ("bytes left over", { reply(stream: $0.stream, sequence: $0.sequence, rest: [1, 2, 3]) }),
    (
      "an edit's length",
      {
        reply(stream: $0.stream, sequence: $0.sequence, edits: 1, rest: [1, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0])
      }
    ),
    ("a local response that is none", { reply(flags: 2, stream: $0.stream, sequence: $0.sequence) }),
    (
      "a status out of range",
      {
        reply(
          flags: 2, stream: $0.stream, sequence: $0.sequence,
          rest: [0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
      }
    ),
    ("an action with a sequence", { reply(2, flags: 4, stream: $0.stream, sequence: 7) }),
    (
      "edits that outgrow a map",
      { callback in
        var writer = WireWriter()
        let at = writer.replyHead(.callbackDone, stream: callback.stream, sequence: callback.sequence)
        let none = UnsafeRawBufferPointer(start: nil, count: 0)
        for index in 0..<1_100 {
          Array("k\(index)".utf8).withUnsafeBytes { writer.edit(.add, .requestHeaders, key: $0, value: none) }
        }
        writer.replyCounts(at: at, flags: [], operations: 1_100)
        return writer.array
      }
    ),
    (
      "edits that look through a large map again and again",
      { callback in
        var writer = WireWriter()
        let at = writer.replyHead(.callbackDone, stream: callback.stream, sequence: callback.sequence)
        let none = UnsafeRawBufferPointer(start: nil, count: 0)
        for index in 0..<900 {
          Array("k\(index)".utf8).withUnsafeBytes { writer.edit(.add, .requestHeaders, key: $0, value: none) }
        }
        Array("x".utf8).withUnsafeBytes { key in
          for _ in 0..<2_400 { writer.edit(.remove, .requestHeaders, key: key, value: none) }
        }
        writer.replyCounts(at: at, flags: [], operations: 3_300)
        return writer.array
      }
    ),
  ]

  @Test(arguments: FailureTests.lies.indices)
  func aBrokenReplyFailsTheStreamAndIsReported(lie: Int) throws {
    let front = try TestFront(plugins: [.test("guard")])
    defer { front.stop() }
    let (name, make) = Self.lies[lie]
    let worker = try front.addWorker { callback, _ in .raw(make(callback)) }
    let response = try front.get()
    #expect(response.status == 503, "\(name)")
    #expect(response.body.contains("broke the protocol"), "\(name)")
    #expect(try front.fault(of: worker).reason == .protocolViolation, "\(name)")
    worker.die()
    try front.waitForEvent { $0 == .workerGone(worker: worker.number) }
    try front.addWorker { _, _ in .goOn() }
    #expect(try front.get().status == 200, "\(name)")
  }

  @Test func randomRepliesNeverBringTheFrontDown() throws {
    let front = try TestFront(plugins: [.test("guard", .failOpen, admission: 5_000)])
    defer { front.stop() }
    var random = RandomIDs()
    for _ in 0..<60 {
      var bytes = (0..<Int(random.next() % 64)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      // Half of them begin as a reply does.
      if random.next() % 2 == 0, bytes.count >= 4 { bytes.replaceSubrange(0..<4, with: [1, 0, 0, 0]) }
      let reply = bytes
      let worker = try front.addWorker { _, _ in .raw(reply) }
      #expect(try front.get().status == 200)
      worker.die()
      try front.waitForEvent { $0 == .workerGone(worker: worker.number) }
    }
  }

  @Test func anActionOnAnotherPluginsStreamIsAViolation() throws {
    let front = try TestFront(plugins: [.test("a"), .test("b", .failOpen)])
    defer { front.stop() }
    let a = try front.addWorker(plugin: 0) { callback, _ in callback.kind == .requestHeaders ? .pause : .goOn() }
    let b = try front.addWorker(plugin: 1) { _, _ in .goOn() }
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    try a.waitForSeen(1)
    b.act(stream: a.seen[0].stream, flags: .closeStream)
    #expect(try front.fault(of: b).reason == .protocolViolation)
    a.act(stream: a.seen[0].stream, flags: .continueRequest)
    // The stream lives, and b is replaced.
    try front.addWorker(plugin: 1) { _, _ in .goOn() }
    #expect(TestResponse(client.readToEnd()).status == 200)
  }

  @Test func memoryThatCouldShrinkIsRefused() throws {
    let front = try TestFront(plugins: [.test("guard")])
    defer { front.stop() }
    let pipe = try TestDescriptors()
    try front.command(.addWorker(worker: 77, plugin: 0), descriptors: pipe.all)
    try front.waitForEvent { $0 == .workerGone(worker: 77) }
    // The worker had no part in it.
    #expect(!front.events.contains { if case .workerFault(77, _, _) = $0 { true } else { false } })
  }

  @Test func commandsThatMakeNoSenseAreDropped() throws {
    let front = try TestFront(plugins: [.test("guard", .failOpen, admission: 1)])
    defer { front.stop() }
    try front.command(.addWorker(worker: 5, plugin: 9))
    try front.waitForEvent { $0 == .workerGone(worker: 5) }
    try front.command(.addWorker(worker: 6, plugin: 0))
    try front.waitForEvent { $0 == .workerGone(worker: 6) }
    try front.command(.workerReady(worker: 1_234))
    try front.command(.pluginState(plugin: 77, state: .ready))
    #expect(try front.get().status == 200)
  }
}
