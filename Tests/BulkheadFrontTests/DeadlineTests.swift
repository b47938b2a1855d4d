import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// Each kind of callback has its own deadline, and the stream gets the policy's answer at that.
@Suite(.serialized) struct DeadlineTests {
  private static let callbacks: CallbackSet = [
    .requestHeaders, .requestBody, .requestTrailers, .responseHeaders, .responseBody, .responseTrailers, .done, .log,
  ]
  private static let request =
    "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    + "4\r\nbody\r\n0\r\nx-trailer: 1\r\n\r\n"

  static let kinds: [CallbackKind] = [
    .requestHeaders, .requestBody, .requestTrailers, .responseHeaders, .responseBody,
  ]

  private static func set(
    _ deadlines: inout FrontBootstrap.Deadlines, _ kind: CallbackKind, _ own: UInt32, others: UInt32
  ) {
    deadlines.headers = kind.deadlineClass == .headers ? own : others
    deadlines.body = kind.deadlineClass == .body ? own : others
    deadlines.log = kind.deadlineClass == .log ? own : others
    deadlines.tick = kind.deadlineClass == .tick ? own : others
  }

  /// All others have a minute: only its own deadline can end it within the ten seconds that the client waits.
  @Test(arguments: kinds) func aCallbackThatHangsEndsAtTheDeadlineOfItsKind(_ kind: CallbackKind) throws {
    let front = try TestFront(plugins: [.test("guard", .failClose, Self.callbacks, deadline: 60_000)]) {
      Self.set(&$0.plugins[0].deadlines, kind, 70, others: 60_000)
    }
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in callback.kind == kind ? .hang : .goOn() }
    let client = try TestClient(port: front.ports[0])
    client.send(Self.request)
    let response = TestResponse(client.readToEnd())
    // Once a head has gone out the stream is cut.
    #expect(response.status == 503 || kind == .responseBody, "\(response.text)")
    let fault = try front.fault(of: worker)
    #expect(fault.reason == .deadline)
    #expect(fault.detail == "\(kind.name) ran longer than 70 ms")
  }

  /// The others' deadlines are far below what it takes.
  @Test(arguments: kinds) func aCallbackMayTakeTheTimeOfItsKind(_ kind: CallbackKind) throws {
    let front = try TestFront(plugins: [.test("guard", .failClose, Self.callbacks)]) {
      Self.set(&$0.plugins[0].deadlines, kind, 60_000, others: 1_000)
    }
    defer { front.stop() }
    // Behind it stand the others of other streams, each with its own time from when it is the first.
    let worker = try front.addWorker { callback, _ in callback.kind == kind ? .slow(milliseconds: 1_200) : .goOn() }
    let client = try TestClient(port: front.ports[0])
    client.send(Self.request)
    #expect(TestResponse(client.readToEnd()).status == 200)
    #expect(front.events.allSatisfy { if case .workerFault = $0 { false } else { true } })
    _ = worker
  }

  @Test func theEndOfAStreamHasADeadlineToo() throws {
    let front = try TestFront(plugins: [.test("guard", .failClose, Self.callbacks, deadline: 60_000)]) {
      Self.set(&$0.plugins[0].deadlines, .streamDone, 70, others: 60_000)
    }
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.hangsInDone.store(true, ordering: .relaxed)
    #expect(try front.get().status == 200, "nobody waits for it")
    let fault = try front.fault(of: worker)
    #expect(fault.reason == .deadline)
    #expect(fault.detail == "proxy_on_log ran longer than 70 ms")
  }

  @Test func aShortCallbackBehindALongOneIsLookedAfter() throws {
    let front = try TestFront(plugins: [.test("guard", .failClose, Self.callbacks)]) {
      Self.set(&$0.plugins[0].deadlines, .requestHeaders, 70, others: 60_000)
    }
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in
      if callback.kind == .requestBody { return .slow(milliseconds: 300) }
      return callback.kind == .requestHeaders && callback.request.contains("x-hang=1") ? .hang : .goOn()
    }
    let first = try TestClient(port: front.ports[0])
    first.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx")
    try worker.waitForSeen(1) { $0.kind == .requestBody }
    // Now the timer stands at the body's minute.
    #expect(try front.get("/", headers: "X-Hang: 1\r\n").status == 503)
    #expect(try front.fault(of: worker).detail == "proxy_on_request_headers ran longer than 70 ms")
  }

  /// A tick is no stream's: the stream behind it was not begun, and goes to the replacement.
  @Test func aStreamBehindAStuckTickGoesToTheReplacement() throws {
    let front = try TestFront(plugins: [.test("guard", .failClose, deadline: 100)])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .stuckInTick }
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    let fault = try front.fault(of: worker)
    #expect(fault.reason == .deadline)
    #expect(fault.detail.hasPrefix("proxy_on_tick has run for"))
    worker.die()
    try front.waitForEvent { $0 == .workerGone(worker: worker.number) }
    try front.addWorker { _, _ in .goOn() }
    #expect(TestResponse(client.readToEnd()).status == 200)
  }

  /// It has the time of its grace, and could keep the loop busy with it.
  @Test func theDoorbellOfALostWorkerIsNotListenedTo() throws {
    let front = try TestFront(plugins: [.test("guard", .failClose, deadline: 50)])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .hang }
    #expect(try front.get().status == 503)
    _ = try front.fault(of: worker)
    worker.ring()
    // The loop has looked at its sockets since, and left the ring where it is.
    let loop = try #require(front.front.loops.first)
    for _ in 0..<3 { try loop.eventLoop.submit {}.wait() }
    #expect(worker.hasUnheardRing)
  }

  @Test func aWorkerThatAlwaysClaimsToBeElsewhereIsNotBelievedForEver() throws {
    let front = try TestFront(plugins: [.test("guard", .failClose, deadline: 50)])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .claimElsewhere }
    #expect(try front.get().status == 503)
    let fault = try front.fault(of: worker)
    #expect(fault.detail == "proxy_on_request_headers was not answered within 50 ms")
  }
}
