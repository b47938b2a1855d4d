import BulkheadCore
import BulkheadSystem
import BulkheadTestSupport
import BulkheadWire
import Glibc
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

extension TestFront {
  /// Sends the next chain: the front's bootstrap with these plugins.
  func prepare(_ generation: UInt32, _ plugins: [FrontBootstrap.Plugin]) throws {
    var next = bootstrap
    next.plugins = plugins
    let file = try Memfd.message(name: "chain", next.encoded()).takeDescriptor()
    try command(.prepareChain(generation: generation), descriptors: [file.raw])
  }

  func activate(_ generation: UInt32) throws {
    try command(.activateChain(generation: generation))
    try waitForEvent { $0 == .chainActivated(generation: generation) }
  }
}

extension FrontBootstrap.Plugin {
  fileprivate static func numbered(
    _ number: UInt32, _ name: String, _ callbacks: CallbackSet = [.requestHeaders, .responseHeaders, .log]
  ) -> FrontBootstrap.Plugin {
    var plugin = FrontBootstrap.Plugin.test(name, .failClose, callbacks, deadline: 5_000, admission: 5_000)
    plugin.number = number
    return plugin
  }
}

/// New generations of the chain, over workers that name themselves in a response header.
@Suite(.serialized) struct GenerationTests {
  private static func naming(_ name: String) -> FakeWorker.Behaviour {
    { callback, _ in callback.kind == .responseHeaders ? .goOn([(.add, .responseHeaders, "x-by", name)]) : .goOn() }
  }

  private static func by(_ response: TestResponse) -> [String] {
    response.head.split(separator: "\r\n").filter { $0.hasPrefix("x-by: ") }.map { String($0.dropFirst(6)) }
  }

  @Test(arguments: [1, 2] as [UInt32])
  func newStreamsTakeTheNewChainAndStreamsUnderWayKeepTheirs(loops: UInt32) throws {
    let front = try TestFront(plugins: [.numbered(0, "a"), .numbered(1, "b")], eventLoops: loops)
    defer { front.stop() }
    try front.addWorker(plugin: 0, Self.naming("a"))
    let old = try front.addWorker(plugin: 1) { callback, _ in
      switch callback.kind {
      case .requestHeaders where callback.request.contains(":path=/held"): .pause
      case .responseHeaders: .goOn([(.add, .responseHeaders, "x-by", "b")])
      default: .goOn()
      }
    }
    let client = try TestClient(port: front.ports[0])
    client.send("GET /held HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    try old.waitForSeen(1) { $0.kind == .requestHeaders }

    // `a` stays and moves to the end, `b` is another revision, `c` is new.
    try front.prepare(1, [.numbered(3, "c"), .numbered(2, "b"), .numbered(0, "a")])
    try front.addWorker(plugin: 2, Self.naming("b2"))
    try front.addWorker(plugin: 3, Self.naming("c"))
    #expect(Self.by(try front.get()) == ["b", "a"])
    try front.activate(1)
    #expect(Self.by(try front.get()) == ["a", "b2", "c"])

    // The stream that began before goes on in its own chain; then `b`'s old revision is nobody's.
    #expect(!front.events.contains(.pluginDrained(plugin: 1)))
    let held = try #require(old.seen.first { $0.kind == .requestHeaders })
    // The loop that does not have the stream passes it over.
    for loop in 0..<Int(loops) { old.act(stream: held.stream, flags: .continueRequest, loop: loop) }
    let answer = TestResponse(client.readToEnd())
    #expect(answer.status == 200)
    #expect(Self.by(answer) == ["b", "a"])
    try front.waitForEvent { $0 == .pluginDrained(plugin: 1) }
    #expect(old.seen.contains { $0.kind == .streamDone })
    try front.command(.retireWorker(worker: old.number))
    old.die()
    try front.waitForEvent { $0 == .workerGone(worker: old.number) }
    #expect(Self.by(try front.get()) == ["a", "b2", "c"])
  }

  @Test func aConnectionThatStaysTakesTheNewChainWithItsNextRequest() throws {
    let front = try TestFront(plugins: [.numbered(0, "a")])
    defer { front.stop() }
    try front.addWorker(plugin: 0, Self.naming("a"))
    let client = try TestClient(port: front.ports[0])
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    client.send(request)
    #expect(Self.by(TestResponse(client.read(until: "\n}\n"))) == ["a"])
    try front.prepare(1, [.numbered(1, "b"), .numbered(0, "a"), .numbered(2, "c")])
    try front.addWorker(plugin: 1, Self.naming("b"))
    try front.addWorker(plugin: 2, Self.naming("c"))
    try front.activate(1)
    client.send(request)
    #expect(Self.by(TestResponse(client.read(until: "\n}\n"))) == ["c", "a", "b"])
    try front.prepare(2, [])
    try front.activate(2)
    for plugin in [0, 1, 2] as [UInt32] { try front.waitForEvent { $0 == .pluginDrained(plugin: plugin) } }
    #expect(Self.by(try front.get()) == [])
  }

  @Test func aDiscardedChainChangesNothing() throws {
    let front = try TestFront(plugins: [.numbered(0, "a")])
    defer { front.stop() }
    try front.addWorker(plugin: 0, Self.naming("a"))
    try front.prepare(1, [.numbered(0, "a"), .numbered(1, "b")])
    let worker = try front.addWorker(plugin: 1, Self.naming("b"))
    try front.command(.discardChain(generation: 1))
    try front.command(.activateChain(generation: 1))
    try front.waitForEvent { if case .chainRefused(1, _) = $0 { true } else { false } }
    #expect(Self.by(try front.get()) == ["a"])
    worker.die()
    try front.waitForEvent { $0 == .workerGone(worker: worker.number) }
    // Its number is free for no worker any more.
    #expect(throws: (any Error).self) {
      try front.command(.addWorker(worker: 77, plugin: 1))
      try front.waitForEvent { $0 == .workerGone(worker: 77) }
      try front.command(.prepareChain(generation: 2))
      let event = try front.waitForEvent { if case .chainRefused(2, _) = $0 { true } else { false } }
      throw TestError(description: "\(event)")
    }
  }

  @Test func aChainThatContradictsTheOneBeforeIsRefused() throws {
    let front = try TestFront(plugins: [.numbered(0, "a")])
    defer { front.stop() }
    try front.addWorker(plugin: 0, Self.naming("a"))
    let chains: [[FrontBootstrap.Plugin]] = [
      [.numbered(0, "other")], [.numbered(1, "b"), .numbered(1, "c")],
    ]
    for (generation, plugins) in zip([1, 2] as [UInt32], chains) {
      try front.prepare(generation, plugins)
      try front.waitForEvent { if case .chainRefused(generation, _) = $0 { true } else { false } }
    }
    #expect(Self.by(try front.get()) == ["a"])
  }

  @Test func connectionsOfBytesKeepTheirChainToTheirEnd() throws {
    var first = FrontBootstrap.Plugin.network("a")
    first.number = 0
    var second = FrontBootstrap.Plugin.network("b")
    second.number = 1
    let front = try TestFront.tcp(plugins: [first])
    defer { front.stop() }
    let old = try front.addWorker(plugin: 0) { _, _ in .goOn() }
    let client = try front.connect()
    client.send("one")
    #expect(client.read(until: "one").contains("one"))
    try front.prepare(1, [second])
    let new = try front.addWorker(plugin: 1) { _, _ in .goOn() }
    try front.activate(1)
    client.send("two")
    #expect(client.read(until: "two").contains("two"))
    #expect(new.seen.isEmpty)
    #expect(!front.events.contains(.pluginDrained(plugin: 0)))
    client.halfClose()
    _ = client.readToEnd()
    try front.waitForEvent { $0 == .pluginDrained(plugin: 0) }
    let next = try front.connect()
    next.send("three")
    #expect(next.read(until: "three").contains("three"))
    #expect(!new.seen.isEmpty)
    #expect(!old.seen.contains { $0.text.contains("three") })
  }
}
