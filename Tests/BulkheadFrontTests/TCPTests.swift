import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Glibc
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

extension TestFront {
  /// One TCP listener an upstream.
  static func tcp(
    plugins: [FrontBootstrap.Plugin] = [], upstreams: [Upstream] = [.echo], accessLog: Int32 = -1,
    _ adjust: (inout FrontBootstrap) -> Void = { _ in }
  ) throws -> TestFront {
    try TestFront(plugins: plugins, upstreams: upstreams, accessLog: accessLog) { bootstrap in
      for index in bootstrap.listeners.indices { bootstrap.listeners[index].kind = .tcp }
      adjust(&bootstrap)
    }
  }

  func connect(_ listener: Int = 0) throws -> TestClient { try TestClient(port: ports[listener]) }
}

extension FrontBootstrap.Plugin {
  static let everyNetworkCallback: CallbackSet = CallbackSet.network.union(.log)

  static func network(
    _ name: String = "plugin", _ strategy: FailStrategy = .failClose, _ callbacks: CallbackSet = everyNetworkCallback,
    deadline: UInt32 = 2_000, admission: UInt32 = 2_000, buffer: UInt32 = 1 << 20
  ) -> FrontBootstrap.Plugin {
    var plugin = FrontBootstrap.Plugin.test(name, strategy, callbacks, deadline: deadline, admission: admission)
    plugin.bufferBytes = buffer
    return plugin
  }
}

/// An upstream that answers all that it got, at its end, in brackets.
func bracketUpstream() throws -> TestUpstream {
  try TestUpstream { peer, _ in
    let all = peer.read(until: "\u{1}never")
    peer.send("[\(all)]")
  }
}

@Suite struct TCPPassTests {
  @Test func bytesAndTheEndPassBothWaysWithoutPlugins() throws {
    let upstream = try bracketUpstream()
    let front = try TestFront.tcp(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    for _ in 0..<3 {
      let client = try front.connect()
      client.send("hello ")
      client.send("world")
      client.halfClose()
      #expect(client.readToEnd() == "[hello world]")
    }
  }

  @Test func theUpstreamMayEndFirst() throws {
    let got = Counter()
    let upstream = try TestUpstream { peer, _ in
      peer.send("first")
      shutdown(peer.descriptor, Int32(SHUT_WR))
      got.add(peer.read(until: "\u{1}never").utf8.count)
    }
    let front = try TestFront.tcp(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let client = try front.connect()
    #expect(client.readToEnd() == "first")
    client.send("still heard")
    client.halfClose()
    try waitUntil { got.value == 11 }
    #expect(got.value == 11)
  }

  @Test func theEmbeddedEchoSendsBackWhatItGets() throws {
    let front = try TestFront.tcp()
    defer { front.stop() }
    let client = try front.connect()
    client.send("ping")
    #expect(client.read(until: "ping") == "ping")
    client.send("pong")
    client.halfClose()
    #expect(client.readToEnd() == "pong")
  }

  @Test(arguments: [0, 1]) func manyBytesPassWholeWhileBothSidesAreSlow(_ plugins: Int) throws {
    let plugin = FrontBootstrap.Plugin.network("p", .failClose, [.downstreamData, .upstreamData])
    let front = try TestFront.tcp(plugins: Array(repeating: plugin, count: plugins))
    defer { front.stop() }
    if plugins > 0 { try front.addWorker { _, _ in .goOn() } }
    let client = try front.connect()
    let sent = (0..<3_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 9) }
    let shared = client
    thread { [sent] in
      shared.send(sent)
      shared.halfClose()
    }
    var received: [UInt8] = []
    while true {
      let some = client.readSome()
      if some.isEmpty { break }
      received.append(contentsOf: some)
      if received.count % 7 == 0 { try front.sync() }
    }
    #expect(received.count == sent.count)
    #expect(received == sent)
  }

  @Test func anUpstreamThatIsNotThereClosesTheConnection() throws {
    let front = try TestFront.tcp(upstreams: [.at(1)])
    defer { front.stop() }
    #expect(try front.connect().readToEnd() == "")
  }

  @Test func theNextEndpointIsTriedWhereOneIsNotThere() throws {
    let upstream = try bracketUpstream()
    var both = Upstream.at(1)
    both.kind = .endpoints(both.endpoints + ["127.0.0.1:\(upstream.port)"])
    let front = try TestFront.tcp(upstreams: [both])
    defer { front.stop() }
    for _ in 0..<4 {
      let client = try front.connect()
      client.send("x")
      client.halfClose()
      #expect(client.readToEnd() == "[x]")
    }
  }

  @Test func anUpstreamThatBreaksAbortsTheClient() throws {
    let arrived = Gate()
    let upstream = try TestUpstream { peer, _ in
      peer.send("part")
      arrived.pass()
      var now = linger(l_onoff: 1, l_linger: 0)
      setsockopt(peer.descriptor, SOL_SOCKET, SO_LINGER, &now, socklen_t(MemoryLayout<linger>.size))
    }
    let front = try TestFront.tcp(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let client = try front.connect()
    #expect(client.read(until: "part") == "part")
    arrived.open()
    #expect(client.readSome().isEmpty)
    #expect(errno == ECONNRESET)
  }

  @Test func aConnectionOnWhichNothingMovesIsClosed() throws {
    let upstream = try bracketUpstream()
    let front = try TestFront.tcp(upstreams: [.at(upstream.port)]) { $0.timeouts.idle = .milliseconds(200) }
    defer { front.stop() }
    let client = try front.connect()
    client.send("x")
    // The upstream answers at the end, which it gets when the connection is closed.
    _ = client.readToEnd()
    #expect(client.readSome().isEmpty)
  }

  @Test func noMoreConnectionsThanTheLimitAreTaken() throws {
    let front = try TestFront.tcp { $0.bounds.connections = 1 }
    defer { front.stop() }
    let first = try front.connect()
    first.send("a")
    #expect(first.read(until: "a") == "a")
    #expect(try front.connect().readToEnd() == "")
    first.halfClose()
    #expect(first.readToEnd() == "")
    try waitUntil {
      guard let next = try? front.connect() else { return false }
      next.send("b")
      return next.read(until: "b") == "b"
    }
  }

  @Test func aDrainLetsConnectionsGoOnForAsLongAsItTakes() throws {
    let front = try TestFront.tcp()
    defer { front.stop() }
    let client = try front.connect()
    client.send("a")
    #expect(client.read(until: "a") == "a")
    try front.command(.drain(milliseconds: 500))
    client.send("b")
    #expect(client.read(until: "b") == "b")
    #expect(client.readToEnd() == "")
    try front.waitForEvent { $0 == .drained }
  }
}

@Suite struct TCPChainTests {
  @Test func theChainRunsForwardForTheClientAndBackForTheUpstream() throws {
    let front = try TestFront.tcp(plugins: [.network("a"), .network("b")])
    defer { front.stop() }
    let order = Names()
    for (index, name) in ["a", "b"].enumerated() {
      try front.addWorker(plugin: UInt32(index)) { callback, _ in
        order.add("\(name) \(callback.kind) \(callback.text)")
        return .goOn()
      }
    }
    let client = try front.connect()
    try waitUntil { order.all.count == 2 }
    client.send("x")
    #expect(client.read(until: "x") == "x")
    #expect(
      order.all == [
        "a newConnection ", "b newConnection ", "a downstreamData x", "b downstreamData x", "b upstreamData x",
        "a upstreamData x",
      ])
  }

  @Test func theEndIsSaidWithClosesAndThenDone() throws {
    let front = try TestFront.tcp(plugins: [.network()])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    let client = try front.connect()
    client.send("x")
    client.halfClose()
    #expect(client.readToEnd() == "x")
    try worker.waitForSeen(1) { $0.kind == .streamDone }
    let seen = worker.seen
    #expect(seen.first?.flags == .firstOfStream)
    #expect(seen.filter { $0.kind == .downstreamData }.last?.isEnd == true)
    #expect(seen.filter { $0.kind == .upstreamData }.last?.isEnd == true)
    #expect(seen.filter { $0.kind == .upstreamData }.map(\.text).joined() == "x")
    #expect(seen.filter { $0.kind == .upstreamClose }.map(\.payload) == [[2, 0, 0, 0]])
    // The client's end came first, so it is closed here.
    #expect(seen.filter { $0.kind == .downstreamClose }.map(\.payload) == [[1, 0, 0, 0]])
    #expect(seen.last?.kind == .streamDone)
    #expect(seen.last?.properties.contains { $0.hasPrefix("request.duration=") } == true)
  }

  @Test func aClientThatBreaksIsAPeerThatClosed() throws {
    let front = try TestFront.tcp(plugins: [.network()])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    var client: TestClient? = try front.connect()
    client?.send("x")
    #expect(client?.read(until: "x") == "x")
    client?.abort()
    client = nil
    try worker.waitForSeen(1) { $0.kind == .streamDone }
    #expect(worker.seen.filter { $0.kind == .downstreamClose }.map(\.payload) == [[2, 0, 0, 0]])
    #expect(worker.seen.filter { $0.kind == .upstreamClose }.map(\.payload) == [[1, 0, 0, 0]])
  }

  @Test func propertiesTellOfTheConnection() throws {
    let upstream = try bracketUpstream()
    let front = try TestFront.tcp(plugins: [.network()], upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    let client = try front.connect()
    client.send("x")
    client.halfClose()
    #expect(client.readToEnd() == "[x]")
    try worker.waitForSeen(1) { $0.kind == .streamDone }
    let first = try #require(worker.seen.first)
    #expect(first.connection.contains { $0.hasPrefix("source.address=127.0.0.1:") })
    #expect(first.connection.contains("destination.address=127.0.0.1:\(front.ports[0])"))
    #expect(first.connection.contains("listener_name=listener0"))
    #expect(first.properties.contains("cluster_name=app"))
    let done = try #require(worker.seen.last)
    #expect(done.properties.contains("upstream.address=127.0.0.1:\(upstream.port)"))
  }

  @Test func whatAPluginSetsTheNextOneSees() throws {
    let upstream = try bracketUpstream()
    var both = Upstream.at(1)
    both.kind = .endpoints(both.endpoints + ["127.0.0.1:\(upstream.port)"])
    let front = try TestFront.tcp(plugins: [.network("a"), .network("b")], upstreams: [both])
    defer { front.stop() }
    let first = try front.addWorker(plugin: 0) { callback, _ in
      callback.kind == .newConnection
        ? .reply([], [.property("who", "Ann"), .host("127.0.0.1:\(upstream.port)"), .host("none:1")]) : .goOn()
    }
    let second = try front.addWorker(plugin: 1) { _, _ in .goOn() }
    let client = try front.connect()
    client.send("x")
    client.halfClose()
    #expect(client.readToEnd() == "[x]")
    #expect(second.seen.first?.properties.contains("who=Ann") == true)
    try first.waitForSeen(1) { $0.kind == .streamDone }
    #expect(first.seen.last?.properties.contains("who=Ann") == true)
  }

  @Test func dataThatIsEditedReachesTheOtherSideEdited() throws {
    let front = try TestFront.tcp(plugins: [.network("p", .failClose, [.downstreamData, .upstreamData])])
    defer { front.stop() }
    try front.addWorker { callback, _ in
      guard callback.payload.count > 0 else { return .goOn() }
      let size = callback.payload.count
      return callback.kind == .downstreamData
        ? .reply([], [.text(.downstreamData, 0, 0, "<"), .text(.downstreamData, size + 1, 0, ">")])
        : .reply([], [.text(.upstreamData, 0, 1, "("), .text(.upstreamData, 2, 1, "two")])
    }
    let client = try front.connect()
    client.send("abcd")
    #expect(client.read(until: ">") == "(atwocd>")
  }

  @Test func whatIsHeldBackGoesOnWithItsEdits() throws {
    let front = try TestFront.tcp(plugins: [.network("p", .failClose, [.downstreamData])])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in
      callback.text.hasSuffix("\n") ? .reply([], [.text(.downstreamData, 0, 3, "YOU")]) : .pause
    }
    let client = try front.connect()
    client.send("me:")
    try worker.waitForSeen(1)
    client.send("hello ")
    try worker.waitForSeen(2)
    client.send("all\n")
    #expect(client.read(until: "\n") == "YOUhello all\n")
    #expect(worker.seen.map(\.text) == ["me:", "hello ", "all\n"])
  }

  @Test func continueReleasesFromOutsideACallback() throws {
    let front = try TestFront.tcp(plugins: [.network("p", .failClose, [.downstreamData, .upstreamData])])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .pause }
    let client = try front.connect()
    client.send("abc")
    client.halfClose()
    try worker.waitForSeen(1) { $0.isEnd }
    let stream = try #require(worker.seen.first?.stream)
    worker.act(stream: stream, flags: .continueDownstream, [.text(.downstreamData, 3, 0, "d")])
    try worker.waitForSeen(1) { $0.kind == .upstreamData && $0.isEnd }
    worker.act(stream: stream, flags: .continueUpstream)
    #expect(client.readToEnd() == "abcd")
  }

  @Test func aNewConnectionThatIsPausedReachesNobodyUntilItIsContinued() throws {
    let upstream = try bracketUpstream()
    let front = try TestFront.tcp(
      plugins: [.network("a", .failClose, [.newConnection]), .network("b", .failClose, [.newConnection])],
      upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let first = try front.addWorker(plugin: 0) { _, _ in .pause }
    let second = try front.addWorker(plugin: 1) { _, _ in .goOn() }
    let client = try front.connect()
    client.send("x")
    client.halfClose()
    try first.waitForSeen(1)
    try waitUntil { first.sent.value > 0 }
    try front.settle()
    #expect(second.seen.isEmpty)
    #expect(upstream.connectionCount == 0)
    first.act(stream: try #require(first.seen.first?.stream), flags: .continueDownstream)
    #expect(client.readToEnd() == "[x]")
    #expect(second.seen.first?.kind == .newConnection)
  }

  @Test func aNewConnectionThatIsPausedGoesOnWhenThePluginLetsItsBytesPass() throws {
    let front = try TestFront.tcp(plugins: [.network("p", .failClose, [.newConnection, .downstreamData])])
    defer { front.stop() }
    try front.addWorker { callback, _ in
      switch callback.kind {
      case .newConnection: .pause
      default: callback.text.contains("please") ? .goOn() : .pause
      }
    }
    let client = try front.connect()
    client.send("let me in, ")
    client.send("please")
    #expect(client.read(until: "please") == "let me in, please")
  }

  @Test(arguments: [ReplyRecord.Flags.closeDownstream, .closeUpstream])
  func aPluginCanCloseTheConnection(_ flag: ReplyRecord.Flags) throws {
    let front = try TestFront.tcp(plugins: [.network("p", .failClose, [.downstreamData, .log])])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in callback.text == "bye" ? .reply(flag, []) : .goOn() }
    let client = try front.connect()
    client.send("hi")
    #expect(client.read(until: "hi") == "hi")
    client.send("bye")
    #expect(client.readToEnd() == "")
    try worker.waitForSeen(1) { $0.kind == .streamDone }
  }

  @Test func whoHoldsBackMoreThanItsBoundLosesTheConnection() throws {
    let front = try TestFront.tcp(plugins: [.network("p", .failClose, [.downstreamData, .log], buffer: 10_000)])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .pause }
    let client = try front.connect()
    let shared = client
    thread { shared.send([UInt8](repeating: 1, count: 200_000)) }
    while !client.readSome().isEmpty {}
    try worker.waitForSeen(1) { $0.kind == .streamDone }
  }

  @Test func manyBytesPassAPluginThatHoldsThemInTurns() throws {
    let front = try TestFront.tcp(plugins: [.network("p", .failClose, [.downstreamData])])
    defer { front.stop() }
    let seen = Counter()
    try front.addWorker { callback, _ in
      let before = seen.value
      seen.add(callback.payload.count)
      return callback.isEnd || before / 300_000 != seen.value / 300_000 ? .goOn() : .pause
    }
    let client = try front.connect()
    let shared = client
    let sent = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 8) }
    thread {
      shared.send(sent)
      shared.halfClose()
    }
    var received: [UInt8] = []
    while true {
      let some = client.readSome()
      if some.isEmpty { break }
      received.append(contentsOf: some)
    }
    #expect(received == sent)
  }
}

@Suite struct TCPFailureTests {
  @Test func failOpenGoesOnWithTheBytesOfTheCallbackThatDied() throws {
    let front = try TestFront.tcp(plugins: [.network("p", .failOpen)])
    defer { front.stop() }
    try front.addWorker { callback, _ in callback.text.contains("boom") ? .die : .goOn() }
    let client = try front.connect()
    client.send("fine")
    #expect(client.read(until: "fine") == "fine")
    client.send("boom")
    #expect(client.read(until: "boom") == "boom")
    client.send("more")
    client.halfClose()
    #expect(client.readToEnd() == "more")
  }

  @Test func failOpenGivesBackWhatThePluginHeld() throws {
    let front = try TestFront.tcp(plugins: [.network("p", .failOpen)])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in callback.kind == .downstreamData ? .pause : .goOn() }
    let client = try front.connect()
    client.send("held")
    try worker.waitForSeen(1) { $0.kind == .downstreamData }
    worker.die()
    #expect(client.read(until: "held") == "held")
  }

  @Test func failOpenGivesBackWhatCameAndNotWhatThePluginMadeOfIt() throws {
    let front = try TestFront.tcp(plugins: [.network("p", .failOpen)])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in
      callback.kind == .downstreamData ? .pausing(.text(.downstreamData, 0, 3, "made of it")) : .goOn()
    }
    let client = try front.connect()
    client.send("held ")
    try worker.waitForSeen(1) { $0.kind == .downstreamData }
    client.send("back")
    try worker.waitForSeen(2) { $0.kind == .downstreamData }
    worker.die()
    #expect(client.read(until: "back") == "held back")
  }

  @Test func failOpenClosesWhereMoreThanIsKeptOfWhatCameWasTakenApart() throws {
    let front = try TestFront.tcp(plugins: [.network("p", .failOpen, buffer: 10)])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in
      callback.kind == .downstreamData ? .pausing(.text(.downstreamData, 0, 99, "")) : .goOn()
    }
    let client = try front.connect()
    client.send("0123456")
    try worker.waitForSeen(1) { $0.kind == .downstreamData }
    client.send("789ab")
    try worker.waitForSeen(2) { $0.kind == .downstreamData }
    worker.die()
    #expect(client.readToEnd() == "")
  }

  @Test(arguments: [FailStrategy.failClose, .failReload])
  func failCloseClosesTheConnection(_ strategy: FailStrategy) throws {
    let front = try TestFront.tcp(plugins: [.network("p", strategy)])
    defer { front.stop() }
    try front.addWorker { callback, _ in callback.kind == .downstreamData ? .die : .goOn() }
    let client = try front.connect()
    client.send("x")
    #expect(client.readToEnd() == "")
  }

  @Test func aCallbackThatRunsTooLongFailsTheConnection() throws {
    let front = try TestFront.tcp(plugins: [.network("p", .failOpen, [.newConnection], deadline: 100)])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .hang }
    let client = try front.connect()
    client.send("x")
    #expect(client.read(until: "x") == "x")
    #expect(try front.fault(of: worker).reason == .deadline)
  }

  @Test(arguments: FailStrategy.allCases)
  func aConnectionThatTheDeadWorkersHaveNotSeenGoesToTheNextOne(_ strategy: FailStrategy) throws {
    let front = try TestFront.tcp(plugins: [.network("p", strategy, [.downstreamData], admission: 60_000)])
    defer { front.stop() }
    let client = try front.connect()
    client.send("x")
    for _ in 0..<4 {
      let worker = try front.addWorker { _, _ in .dieUnseen }
      try front.waitForEvent { $0 == .workerGone(worker: worker.number) }
    }
    let last = try front.addWorker { _, _ in .goOn() }
    #expect(client.read(until: "x") == "x")
    #expect(last.seen.first?.kind == .downstreamData, "filtered, not let through")
  }

  @Test func aConnectionWaitsForAWorkerAsLongAsItMay() throws {
    let front = try TestFront.tcp(plugins: [.network("p", .failClose)])
    defer { front.stop() }
    let client = try front.connect()
    client.send("x")
    let loop = try #require(front.front.loops.first)
    try waitUntil { try loop.eventLoop.submit { loop.engine.chain.plugins.first?.measured.waiting }.wait() == 1 }
    try front.addWorker { _, _ in .goOn() }
    #expect(client.read(until: "x") == "x")
  }

  @Test func whereNoWorkerComesTheStrategyHolds() throws {
    let front = try TestFront.tcp(plugins: [.network("p", .failClose, admission: 50)])
    defer { front.stop() }
    #expect(try front.connect().readToEnd() == "")
  }

  @Test func repliesThatMakeNoSenseForAConnectionDoNothing() throws {
    let front = try TestFront.tcp(plugins: [.network("p", .failClose, [.newConnection, .downstreamData])])
    defer { front.stop() }
    try front.addWorker { callback, _ in
      .reply(
        [.continueUpstream, .continueRequest],
        [
          .edit(.add, .requestHeaders, "a", "b"), .text(.requestBody, 0, 0, "no"), .text(.upstreamData, 0, 0, "no"),
          .property("a", "b"), .host("h:1"),
        ])
    }
    let client = try front.connect()
    client.send("x")
    #expect(client.read(until: "x") == "x")
  }
}

/// Words in the order in which they came, from any thread.
final class Names: @unchecked Sendable {
  // Under the lock.
  private var names: [String] = []
  private let lock = TestLock()
  var all: [String] { lock.locked { names } }
  func add(_ name: String) { lock.locked { names.append(name) } }
}
