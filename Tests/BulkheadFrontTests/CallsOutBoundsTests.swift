import BulkheadCore
import BulkheadWire
import Glibc
import NIOCore
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// What calls out keep in the front is counted and let go of, and no call harms those of other plugins.
@Suite(.serialized) struct CallsOutBoundsTests {
  private func front(
    _ port: UInt16, isHTTP2: Bool = true, _ adjust: (inout FrontBootstrap) -> Void = { _ in }
  ) throws -> TestFront {
    try CallsOutHTTPTests.front(
      .init(name: "app", kind: .endpoints(["127.0.0.1:\(port)"]), isHTTP2: isHTTP2), adjust)
  }

  /// What is counted for the calls of all workers.
  private func heldBytes(_ front: TestFront) -> Int {
    front.front.loops.reduce(0) { sum, loop in
      sum + ((try? loop.eventLoop.submit { loop.engine.links.reduce(0) { $0 + $1.root.callBytes } }.wait()) ?? 0)
    }
  }

  // MARK: Heads

  private static let large = String(repeating: "~", count: 12_000)

  @Test(arguments: [
    CallOperation.http(1, headers: [("x-large", large)]),
    .http(1, body: "b", trailers: [("x-large", large)]),
    .grpc(1, "M", message: "m", metadata: [("x-large", Array(large.utf8))]),
    // Each is small.
    .http(1, headers: (0..<900).map { ("x-header-number-\($0)", "the value of header \($0)") }),
  ]) func aHeadThatNoFrameTakesFailsItsCallAlone(call: CallOperation) throws {
    let peer = try HTTP2Peer(early: [.headers([(":status", "200")]), .message("first")]) { _ in
      [.headers([("grpc-status", "0")], end: true)]
    }
    defer { peer.stop() }
    let front = try front(peer.port)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.grpc(2, "M"))
    _ = try worker.waitForEvents(2, of: 2)
    worker.call(call)
    switch try worker.waitForClose(of: 1).last {
    case .close(_, let status, let message)?:
      #expect(status == 13)
      #expect(message.contains("at most \(HTTP2Head.maximumBytes)"), "\(message)")
    case let event: #expect(event == .failed(1))
    }
    // The connection serves on.
    worker.call(.close(2))
    #expect(try worker.waitForClose(of: 2).last == .close(2, status: 0, message: ""))
    #expect(peer.connections.value == 1)
    #expect(peer.streams.value == 1)
    #expect(front.waitForNoCalls())
  }

  @Test func aLargeHeadThatOneFrameTakesIsSent() throws {
    let value = String(repeating: "a", count: 22_000)
    let peer = try HTTP2Peer { request in
      [.headers([(":status", request.has("x-large: \(value)") ? "204" : "400")], end: true)]
    }
    defer { peer.stop() }
    let front = try front(peer.port)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.http(1, headers: [("x-large", value)]))
    #expect(try worker.waitForEvents(1, of: 1) == [.http(1, headers: [":status=204"], body: "", trailers: [])])
  }

  // MARK: Bytes

  @Test func aBodyThatTheUpstreamDidNotReadIsNotKept() throws {
    // More than the windows of the stream and of the connection.
    let body = String(repeating: "b", count: 300_000)
    let peer = try HTTP2Peer(early: [.headers([(":status", "200")], end: true)], readsBodies: false) { _ in [] }
    defer { peer.stop() }
    let front = try front(peer.port)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.http(1, method: "POST", body: body))
    #expect(try worker.waitForEvents(1, of: 1) == [.http(1, headers: [":status=200"], body: "", trailers: [])])
    try waitUntil { peer.resets.value == 1 }
    #expect(peer.resets.value == 1)
    #expect(front.waitForNoCalls())
  }

  @Test func aCallCountsForItsHead() throws {
    let upstream = try TestUpstream { peer, _ in _ = peer.read(until: "never") }
    let headers = (0..<100).map { ("x-\($0)", String(repeating: "v", count: 100)) }
    let calls: [CallOperation] = [
      .http(1, headers: headers), .grpc(1, "M", message: "", metadata: headers.map { ($0.0, Array($0.1.utf8)) }),
    ]
    for call in calls {
      let front = try front(upstream.port, isHTTP2: false)
      defer { front.stop() }
      let worker = try front.addWorker { _, _ in .goOn() }
      worker.call(call)
      try waitUntil { front.callCounts.calls == 1 }
      // The bytes, and what two strings a field take.
      #expect(heldBytes(front) > 100 * (100 + 64))
      #expect(heldBytes(front) < 100 * (100 + 64) + 2_000)
    }
  }

  @Test func theMessageOfAUnaryCallCountsUntilItsEnd() throws {
    let arrived = Counter()
    let peer = try HTTP2Peer { _ in
      arrived.add(1)
      return []
    }
    defer { peer.stop() }
    let front = try front(peer.port)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.grpc(1, "M", message: String(repeating: "m", count: 20_000)))
    try waitUntil { arrived.value == 1 }
    #expect(heldBytes(front) > 20_000)
    worker.call(.cancel(1))
    #expect(front.waitForNoCalls())
  }

  /// A peer that takes one call at a time, and is at one.
  private func busy(_ body: (TestFront, FakeWorker) throws -> Void) throws {
    let peer = try HTTP2Peer(maximumStreams: 1, early: [.headers([(":status", "200")])]) { _ in [] }
    defer { peer.stop() }
    let front = try front(peer.port) { $0.bounds.upstreamConnections = 1 }
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.grpc(2, "M"))
    _ = try worker.waitForEvents(1, of: 2)
    try body(front, worker)
  }

  @Test func messagesWithoutBytesCountToo() throws {
    try busy { front, worker in
      worker.call(.grpc(6, "M"))
      for _ in 0..<1_000 { worker.call(.send(6, "")) }
      try waitUntil { heldBytes(front) >= 256_000 }
      #expect(heldBytes(front) >= 256_000)
    }
  }

  @Test func theMessagesThatWaitOfOneStreamAreBounded() throws {
    try busy { front, worker in
      worker.call(.grpc(6, "M"))
      for _ in 0...GRPCCall.maximumWaiting { worker.call(.send(6, "")) }
      guard case .close(6, status: 8, let message)? = try worker.waitForClose(of: 6).last else {
        Issue.record("\(worker.callEvents)")
        return
      }
      #expect(message.contains("\(GRPCCall.maximumWaiting) messages"))
      worker.call(.cancel(2))
      #expect(front.waitForNoCalls())
    }
  }

  @Test func aFewBytesDoNotKeepABigBuffer() {
    var big = ByteBuffer(repeating: 0, count: 1 << 20)
    var framing = GRPCFraming()
    framing.append(big.readSlice(length: 3) ?? ByteBuffer())
    #expect(framing.storageCapacity < 1_024)
    #expect(framing.byteCount == 3)
  }

  @Test func theCallsOfALostWorkerAreNotHeldBack() throws {
    let steps: [HTTP2Peer.Step] =
      [.headers([(":status", "200")])] + (0..<40).map { _ in .message(String(repeating: "x", count: 32 << 10)) }
    let peer = try HTTP2Peer { _ in steps }
    defer { peer.stop() }
    let front = try front(peer.port) {
      $0.ring.callbacks = 128 << 10
      $0.plugins[0].callbackDeadline = 60_000
    }
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .hang }
    func heldBack() -> Int {
      front.front.loops.reduce(0) { sum, loop in
        sum + ((try? loop.eventLoop.submit { loop.callsOut?.heldBackCalls ?? 0 }.wait()) ?? 0)
      }
    }
    worker.call(.grpc(2, "M"), .close(2))
    try waitUntil { heldBack() == 1 }
    #expect(heldBack() == 1)
    worker.die()
    #expect(front.waitForNoCalls())
    #expect(heldBack() == 0)
  }

  // MARK: Time

  @Test func oneRoundOfReadingTakesABoundedNumberOfBytes() throws {
    let upstream = try TestUpstream { peer, _ in _ = peer.read(until: "never") }
    let front = try front(upstream.port) { $0.ring.replies = 8 << 20 }
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    let message = String(repeating: "x", count: 128 << 10)
    guard let loop = front.front.loops.first else { return }
    // The loop does nothing else until all records are there.
    let isLeft = try loop.eventLoop.submit {
      for _ in 0..<40 { worker.call(.send(2, message)) }
      // Each goes in five parts.
      try waitUntil { worker.sent.value == 5 * 40 }
      guard let link = loop.engine.links.first, link.poll() else { return false }
      return link.channel.hasReply
    }.wait()
    #expect(isLeft)
    // The rest is read in later rounds.
    try waitUntil { (try? loop.eventLoop.submit { loop.engine.links.first?.channel.hasReply }.wait()) == false }
    #expect(try loop.eventLoop.submit { loop.engine.links.first?.channel.hasReply }.wait() == false)
  }

  @Test func anUpstreamThatAllowsNoStreamsIsAskedOnce() throws {
    let peer = try HTTP2Peer(maximumStreams: 0) { _ in [] }
    defer { peer.stop() }
    let front = try front(peer.port)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.grpc(1, "M", message: "m"))
    guard case .close(1, status: 14, let message)? = try worker.waitForClose(of: 1).last else {
      Issue.record("\(worker.callEvents)")
      return
    }
    #expect(message.contains("allows no streams"), "\(message)")
    #expect(peer.connections.value == 1)
    try waitUntil { front.callCounts.connections == 0 }
    #expect(front.callCounts.connections == 0)
    #expect(front.waitForNoCalls())
  }
}
