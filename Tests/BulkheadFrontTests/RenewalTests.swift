import BulkheadCore
import BulkheadTestSupport
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// A worker whose VM ends goes on with a fresh one: what was lost with the VM fails, all else stays where it is.
@Suite(.serialized) struct RenewalTests {
  private static func front(
    _ strategy: FailStrategy = .failClose, _ callbacks: CallbackSet = [.requestHeaders, .responseHeaders, .log],
    deadline: UInt32 = 5_000, _ adjust: (inout FrontBootstrap) -> Void = { _ in }
  ) throws -> TestFront {
    try TestFront(plugins: [.test("guard", strategy, callbacks, deadline: deadline)]) {
      $0.plugins[0].renews = true
      adjust(&$0)
    }
  }

  private static func isKiller(_ callback: SeenCallback) -> Bool { callback.request.contains("x-kill=1") }

  @Test(arguments: [(FailStrategy.failClose, 503), (.failOpen, 200)])
  func theCallbackThatAVMEndedInFailsAndTheNextOneIsServed(_ strategy: FailStrategy, _ status: Int) throws {
    let front = try Self.front(strategy)
    defer { front.stop() }
    try front.addWorker { callback, _ in Self.isKiller(callback) ? .endVM : .goOn() }
    for _ in 0..<20 {
      #expect(try front.get("/", headers: "X-Kill: 1\r\n").status == status)
      #expect(try front.get().status == 200)
    }
    #expect(front.events.allSatisfy { if case .workerFault = $0 { false } else { true } }, "the worker is kept")
  }

  @Test func aStreamThatTheVMHadPausedFailsWithIt() throws {
    let front = try Self.front()
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in
      if Self.isKiller(callback) { return .endVM }
      return callback.request.contains("x-pause=1") ? .pause : .goOn()
    }
    worker.knowsVMs = true
    let paused = try TestClient(port: front.ports[0])
    paused.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Pause: 1\r\n\r\n")
    try worker.waitForSeen(1)
    #expect(try front.get("/", headers: "X-Kill: 1\r\n").status == 503)
    #expect(TestResponse(paused.readToEnd()).status == 503, "nobody is left to resume it")
    #expect(try front.get().status == 200)
  }

  /// It waits for nothing at that moment: its next callback finds nobody.
  @Test func aStreamWithStateInTheVMFailsAtItsNextCallback() throws {
    let front = try Self.front(.failClose, [.requestHeaders, .requestBody, .responseHeaders])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in Self.isKiller(callback) ? .endVM : .goOn() }
    worker.knowsVMs = true
    let client = try TestClient(port: front.ports[0])
    client.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\n")
    try worker.waitForSeen(1) { $0.kind == .requestHeaders }
    #expect(try front.get("/", headers: "X-Kill: 1\r\n").status == 503)
    client.send("body")
    #expect(TestResponse(client.readToEnd()).status == 503)
    #expect(worker.seen.allSatisfy { $0.kind != .requestBody }, "nothing is asked of a VM that does not know it")
  }

  @Test func aWorkerMayNotRenewItsVMWhereItsPolicyDoesNot() throws {
    let front = try TestFront(plugins: [.test("guard", .failClose)])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .endVM }
    #expect(try front.get().status == 503)
    #expect(try front.fault(of: worker).reason == .protocolViolation)
  }

  @Test func aVMCannotEndInACallbackThatNobodyAskedFor() throws {
    let front = try Self.front()
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in
      var writer = WireWriter()
      writer.vmEnded(VMEnd(reason: .trap), stream: 1, sequence: 77)
      return .raw(writer.array)
    }
    #expect(try front.get().status == 503)
    #expect(try front.fault(of: worker).reason == .protocolViolation)
  }

  @Test func endsOfVMsWithoutEndAreAFlood() throws {
    let front = try Self.front()
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    var writer = WireWriter()
    writer.vmEnded(
      VMEnd(reason: .trap, streams: Array(1...UInt32(VMEnd.maximumEntries / 2))), stream: .max, sequence: 0)
    worker.say(withoutEnd: writer.array)
    let fault = try front.fault(of: worker)
    #expect(fault.reason == .protocolViolation)
    #expect(fault.detail.contains("floods"))
    worker.beSilent()
  }

  /// Its stream gets its answer at the deadline; the worker is given up only where nothing comes of the interrupt.
  @Test func aCallbackPastItsDeadlineIsInterruptedBeforeItsWorkerIsGivenUp() throws {
    let front = try Self.front(.failClose, deadline: 70) { $0.plugins[0].grace = 100 }
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in Self.isKiller(callback) ? .hang : .goOn() }
    #expect(try front.get("/", headers: "X-Kill: 1\r\n").status == 503)
    let overdue = try front.waitForEvent { if case .callbackOverdue = $0 { true } else { false } }
    guard case .callbackOverdue(let number, let run, let kind, _, _, let milliseconds) = overdue else { return }
    #expect(number == worker.number && run != 0 && kind == CallbackKind.requestHeaders.rawValue)
    #expect(milliseconds >= 70)
    #expect(try front.fault(of: worker).reason == .deadline)
  }

  @Test func aCallbackThatEndsAfterItsDeadlineLeavesItsWorkerAlone() throws {
    let front = try Self.front(.failClose, deadline: 70) { $0.plugins[0].grace = 5_000 }
    defer { front.stop() }
    try front.addWorker { callback, _ in Self.isKiller(callback) ? .slow(milliseconds: 200) : .goOn() }
    #expect(try front.get("/", headers: "X-Kill: 1\r\n").status == 503)
    #expect(try front.get().status == 200)
    #expect(front.events.allSatisfy { if case .workerFault = $0 { false } else { true } })
  }

  @Test func whatWaitsBehindASlowCallbackGoesToAnIdleWorker() throws {
    let front = try Self.front(.failClose, deadline: 10_000) {
      $0.plugins[0].workers = 1
      $0.plugins[0].slow = 20
    }
    defer { front.stop() }
    let first = try front.addWorker { callback, _ in Self.isKiller(callback) ? .slow(milliseconds: 1_500) : .goOn() }
    let slow = try TestClient(port: front.ports[0])
    slow.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Kill: 1\r\n\r\n")
    try first.waitForSeen(1)
    let second = try TestClient(port: front.ports[0])
    second.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    try front.waitForEvent { if case .spareWanted = $0 { true } else { false } }
    let spare = try front.addWorker { _, _ in .goOn() }
    #expect(TestResponse(second.readToEnd()).status == 200)
    #expect(!spare.seen.isEmpty, "it was not behind the slow one any more")
    #expect(TestResponse(slow.readToEnd()).status == 200, "what is slow is let alone up to its deadline")
  }

  /// The very same request waits for its twin rather than to take the last worker too; what is another one does not.
  @Test(arguments: [1, 2]) func aTwinOfWhatRunsLongDoesNotTakeTheLastWorker(loops: UInt32) throws {
    var plugin = FrontBootstrap.Plugin.test("guard", .failClose, [.requestHeaders], deadline: 10_000)
    plugin.renews = true
    plugin.workers = 1
    plugin.slow = 20
    // What a stream looks like is worked out where there is a lane for suspects.
    plugin.suspectMemory = 60_000
    plugin.suspectsAtMost = 64
    let front = try TestFront(plugins: [plugin], eventLoops: loops)
    defer { front.stop() }
    let workers = try (0..<2).map { _ in
      try front.addWorker { callback, number in
        Self.isKiller(callback) && number == 0 ? .slow(milliseconds: 2_000) : .goOn()
      }
    }
    let killer = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Kill: 1\r\n\r\n"
    let clients = try (0..<8).map { _ in try TestClient(port: front.ports[0]) }
    clients[0].send(killer)
    try waitUntil { workers.contains { !$0.seen.isEmpty } }
    let stuck = try #require(workers.first { !$0.seen.isEmpty })
    let free = try #require(workers.first { $0 !== stuck })
    /// Callbacks that run long, as far as the loop knows.
    func stands(_ loop: FrontLoop) throws -> Int? {
      try loop.eventLoop.submit { loop.engine.chain.plugins.first?.workers.long.count }.wait()
    }
    for loop in front.front.loops { try waitUntil { (try? stands(loop)) == 1 } }
    for client in clients[1...] { client.send(killer) }
    for number in 1...20 { #expect(try front.get("/\(number)").status == 200) }
    #expect(free.seen.count { $0.kind == .requestHeaders } == 20 && !free.seen.contains(where: Self.isKiller))
    for client in clients { #expect(TestResponse(client.readToEnd()).status == 200) }
    for loop in front.front.loops {
      try waitUntil { (try? stands(loop)) == 0 }
      #expect(try stands(loop) == 0)
    }
  }
}
