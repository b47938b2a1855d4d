import BulkheadCore
import BulkheadWire
import Glibc
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// Several workers of one plugin: who takes streams, and who stands by.
@Suite(.serialized) struct StandbyTests {
  /// A plugin without an admission wait: where no worker is ready at once, the stream fails.
  private static func plugin(workers: UInt32 = 1) -> FrontBootstrap.Plugin {
    var plugin = FrontBootstrap.Plugin.test("guard", admission: 0)
    plugin.workers = workers
    return plugin
  }

  private static func callbacks(_ worker: FakeWorker) -> Int { worker.seen.count { $0.kind == .requestHeaders } }

  @Test func aStandbyGetsNoStreamUntilTheFrontLosesTheWorkerThatServes() throws {
    let front = try TestFront(plugins: [Self.plugin()])
    defer { front.stop() }
    let first = try front.addWorker { callback, index in index < 6 ? .goOn() : .die }
    let standby = try front.addWorker { _, _ in .goOn() }
    for _ in 0..<3 { #expect(try front.get().status == 200) }
    #expect(standby.seen.isEmpty)
    #expect(try front.get().status == 503, "the one that the worker died on")
    // Nobody has told the front anything since.
    for _ in 0..<3 { #expect(try front.get().status == 200) }
    #expect(Self.callbacks(first) == 4)
    #expect(Self.callbacks(standby) == 3)
  }

  @Test(
    arguments: FailStrategy.allCases,
    [CallbackKind.requestHeaders, .requestBody, .responseHeaders, .responseBody])
  func callbacksThatWereQueuedForTheLostWorkerGoToTheStandbyAtOnce(strategy: FailStrategy, kind: CallbackKind) throws {
    let callbacks: CallbackSet =
      switch kind {
      case .requestBody: .requestBody
      case .responseHeaders: .responseHeaders
      case .responseBody: .responseBody
      default: .requestHeaders
      }
    // Nothing waits for admission.
    let front = try TestFront(plugins: [.test("guard", strategy, callbacks, admission: 0)])
    defer { front.stop() }
    try front.addWorker { _, _ in .dieUnseen }
    let standby = try front.addWorker { _, _ in .goOn() }
    #expect(try front.post("hello").status == 200)
    #expect(standby.seen.first?.kind == kind, "filtered, not let through")
    #expect(standby.seen.first?.flags.contains(.firstOfStream) == true)
    try front.command(.collectMetrics(number: 1))
    try front.waitForEvent {
      guard case .metrics(1, true, let text) = $0 else { return false }
      return text.contains("\nbulkhead_redispatched_callbacks_total{plugin=\"guard\"} 1\n")
    }
  }

  @Test func aWorkerThatIsStuckIsReplacedByTheStandbyAtItsDeadline() throws {
    var plugin = FrontBootstrap.Plugin.test("guard", deadline: 60, admission: 0)
    plugin.workers = 1
    let front = try TestFront(plugins: [plugin])
    defer { front.stop() }
    let stuck = try front.addWorker { _, _ in .hang }
    try front.addWorker { _, _ in .goOn() }
    #expect(try front.get().status == 503)
    #expect(try front.fault(of: stuck).reason == .deadline)
    #expect(try front.get().status == 200)
  }

  @Test func streamsGoToTheWorkerWithTheFewestOfThem() throws {
    let front = try TestFront(plugins: [Self.plugin(workers: 3)])
    defer { front.stop() }
    let workers = try (0..<4).map { _ in try front.addWorker { _, _ in .pause } }
    var clients: [TestClient] = []
    for number in 1...9 {
      let client = try TestClient(port: front.ports[0])
      client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      clients.append(client)
      try waitUntil("stream \(number) has come to a worker") { workers.reduce(0) { $0 + Self.callbacks($1) } == number }
    }
    #expect(workers.map(Self.callbacks) == [3, 3, 3, 0], "the fourth stands by")
    clients.removeAll()
  }

  @Test func oneThatIsLostIsReplacedByTheNextInOrderWhileTheOthersGoOn() throws {
    let front = try TestFront(plugins: [Self.plugin(workers: 2)])
    defer { front.stop() }
    let workers = try (0..<3).map { _ in try front.addWorker { _, _ in .pause } }
    workers[0].die()
    try front.waitForEvent { $0 == .workerGone(worker: workers[0].number) }
    var clients: [TestClient] = []
    for number in 1...4 {
      let client = try TestClient(port: front.ports[0])
      client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
      clients.append(client)
      try waitUntil("stream \(number) has come to a worker") { workers.reduce(0) { $0 + Self.callbacks($1) } == number }
    }
    #expect(workers.map(Self.callbacks) == [0, 2, 2])
    clients.removeAll()
  }

  @Test func aRetiredWorkerKeepsItsStreamsAndIsIdleWithTheLastOfThem() throws {
    let front = try TestFront(plugins: [Self.plugin()])
    defer { front.stop() }
    let old = try front.addWorker { _, _ in .pause }
    let new = try front.addWorker { _, _ in .goOn() }
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    try waitUntil("the stream has come to the old worker") { Self.callbacks(old) == 1 }
    try front.command(.retireWorker(worker: old.number))
    try front.command(.retireWorker(worker: new.number))
    // The events come in order: this one has no stream.
    try front.waitForEvent { $0 == .workerIdle(worker: new.number) }
    #expect(!front.events.contains(.workerIdle(worker: old.number)))
    client.abort()
    client.halfClose()
    try front.waitForEvent { $0 == .workerIdle(worker: old.number) }
    #expect(old.seen.contains { $0.kind == .streamDone }, "it was told of their end, and has dealt with that")
  }
}
