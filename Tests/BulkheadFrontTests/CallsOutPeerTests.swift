import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// gRPC with a server that others have made: grpcio, from PyPI.
@Suite(.serialized) struct CallsOutPeerTests {
  enum Security: CaseIterable, Sendable { case plaintext, tls, mutualTLS }

  private func with(
    _ security: Security, connections: Int = 64, ring: UInt32 = 1 << 20,
    _ body: (TestFront, FakeWorker) throws -> Void
  ) throws {
    let files = try TestCertificates.shared.get()
    var arguments: [String] = []
    var tls: Upstream.TLS?
    if security != .plaintext {
      arguments = [files.certificate, files.key]
      tls = Upstream.TLS(serverName: "localhost", authorities: try TestCertificates.read(files.authority))
    }
    if security == .mutualTLS {
      arguments.append(files.authority)
      tls?.certificate = try TestCertificates.read(files.clientCertificate)
      tls?.privateKey = try TestCertificates.read(files.clientKey)
    }
    let peer = try GRPCPeer(arguments)
    let front = try CallsOutHTTPTests.front(
      .init(name: "app", kind: .endpoints(["127.0.0.1:\(peer.port)"]), tls: tls)
    ) {
      $0.bounds.upstreamConnections = connections
      $0.ring.callbacks = ring
      $0.ring.replies = ring
    }
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    try body(front, worker)
    #expect(front.waitForNoCalls())
  }

  private func texts(_ events: [CallEvent]) -> [String] {
    events.compactMap { if case .message(_, let text) = $0 { text } else { nil } }
  }

  @Test(arguments: Security.allCases) func callsOfEachKindAreAnswered(security: Security) throws {
    try with(security) { _, worker in
      worker.call(.grpc(1, "Unary", message: "hi"))
      worker.call(.grpc(2, "ServerStream"), .send(2, "5 100", isLast: true))
      worker.call(.grpc(4, "ClientStream"), .send(4, "a"), .send(4, "b"), .send(4, ""), .close(4))
      worker.call(.grpc(6, "Bidi"), .send(6, "one"))
      #expect(try worker.waitForEvents(1, of: 1) == [.message(1, "echo:hi")])
      let served = try worker.waitForClose(of: 2)
      #expect(texts(served) == (0..<5).map { "\($0):" + String(repeating: ".", count: 98) })
      #expect(served.last == .close(2, status: 0, message: ""))
      #expect(try texts(worker.waitForClose(of: 4)) == ["a,b,"])
      // One after the other, each after the answer to the one before.
      _ = try worker.waitForEvents(2, of: 6)
      worker.call(.send(6, "two"))
      _ = try worker.waitForEvents(3, of: 6)
      worker.call(.close(6))
      let both = try worker.waitForClose(of: 6)
      #expect(texts(both) == ["echo:one", "echo:two"])
      #expect(both.last == .close(6, status: 0, message: ""))
    }
  }

  @Test func aUnaryCallAsAStreamShowsItsMetadata() throws {
    try with(.plaintext) { _, worker in
      worker.call(.grpc(2, "Unary"), .send(2, "hi", isLast: true))
      let events = try worker.waitForClose(of: 2)
      guard events.count == 4, case .initial(_, let initial) = events[0], case .trailing(_, let trailing) = events[2]
      else {
        Issue.record("\(events)")
        return
      }
      #expect(initial.contains("x-initial=one"))
      #expect(events[1] == .message(2, "echo:hi"))
      #expect(trailing.contains("x-trailing=two"))
      #expect(trailing.contains("data-bin=AP8"))
      #expect(events[3] == .close(2, status: 0, message: ""))
    }
  }

  @Test func errorsCarryTheirStatus() throws {
    try with(.plaintext) { _, worker in
      worker.call(.grpc(1, "Fail", message: "x"), .grpc(3, "Nothing", message: "x"))
      worker.call(.grpc(2, "Bidi"), .send(2, "a"), .send(2, "fail"))
      #expect(try worker.waitForClose(of: 1) == [.close(1, status: 5, message: "no such thing: x")])
      guard case .close(_, status: 12, _)? = try worker.waitForClose(of: 3).last else {
        Issue.record("\(worker.callEvents)")
        return
      }
      let events = try worker.waitForClose(of: 2)
      #expect(texts(events) == ["echo:a"])
      #expect(events.last == .close(2, status: 8, message: "told to"))
    }
  }

  @Test func theDeadlineReachesTheServer() throws {
    try with(.plaintext) { _, worker in
      worker.call(.grpc(1, "Slow", message: "", timeout: 150))
      guard case .close(_, status: 4, _)? = try worker.waitForClose(of: 1).last else {
        Issue.record("\(worker.callEvents)")
        return
      }
    }
  }

  @Test func metadataArrivesAsItWasGiven() throws {
    try with(.plaintext) { _, worker in
      worker.call(
        .grpc(1, "Metadata", message: "", metadata: [("x-text", Array("v 1".utf8)), ("x-data-bin", [0, 1, 254])]))
      guard case .message(_, let text)? = try worker.waitForEvents(1, of: 1).first else { return }
      let lines = text.split(separator: "\n")
      #expect(lines.contains("x-text=v 1"))
      #expect(lines.contains("x-data-bin=0001fe"))
    }
  }

  @Test func largeMessagesAndLongStreamsPass() throws {
    try with(.plaintext, ring: 8 << 20) { _, worker in
      worker.call(.grpc(1, "Big", message: "3000000"))
      worker.call(.grpc(2, "ServerStream"), .send(2, "3000 1000", isLast: true))
      let big = try worker.waitForEvents(1, of: 1)
      #expect(big == [.message(1, String(repeating: "x", count: 3_000_000))])
      #expect(try texts(worker.waitForClose(of: 2)).count == 3_000)
      let large = String(repeating: "y", count: 1 << 20)
      worker.call(.grpc(4, "ClientStream"), .send(4, large), .send(4, large, isLast: true))
      #expect(try texts(worker.waitForClose(of: 4)) == ["\(large),\(large)"])
    }
  }

  @Test func moreCallsThanTheServerTakesAtOnceAreAllAnswered() throws {
    // It allows eight streams of a connection.
    try with(.plaintext, connections: 2) { front, worker in
      for index in UInt32(0)..<100 { worker.call(.grpc(index * 2 + 1, "Unary", message: "\(index)")) }
      for index in UInt32(0)..<100 {
        let events = try worker.waitForEvents(1, of: index * 2 + 1)
        #expect(events == [.message(index * 2 + 1, "echo:\(index)")])
      }
      #expect(front.callCounts.connections <= 2)
    }
  }
}
