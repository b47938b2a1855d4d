import BulkheadCore
import BulkheadWire
import Glibc
import NIOCore
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// Peers that take nothing of what is written to them.
@Suite(.serialized) struct UnreadResponseTests {
  private static let request = "GET /x HTTP/1.1\r\nHost: a\r\n\r\n"

  /// What the front's one connection holds for its client.
  private func unwritten(_ front: TestFront) throws -> (bytes: Int, isBehind: Bool) {
    let loop = front.front.loops[0]
    return try loop.eventLoop.submit {
      let connection = loop.connections.first as? HTTP1Client
      return (connection?.unwrittenBytes ?? 0, connection?.isBehind ?? false)
    }.wait()
  }

  @Test func pipelinedRequestsWaitUntilTheirResponsesAreRead() throws {
    // More than the buffers of the kernel take, which grow to some megabytes.
    let (count, size) = (12_000, 2_000)
    let served = Counter()
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: \(size)\r\n\r\n" + String(repeating: "x", count: size)
    let upstream = try TestUpstream { peer, _ in
      while !peer.read(until: "\r\n\r\n").isEmpty {
        served.add(1)
        peer.send(answer)
      }
    }
    let front = try TestFront(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let client = try TestClient(port: front.ports[0], receiveBuffer: 4_096)
    thread {
      client.send(String(repeating: Self.request, count: count))
      client.send("GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    }
    #expect(try served.whenStill() < count, "the kernel's buffers hold less than all")
    let held = try unwritten(front)
    #expect(held.isBehind)
    #expect(held.bytes < 2 * size, "one response, and no further one is made")
    // All come, once they are read.
    let text = client.readBytesToEnd()
    #expect(served.value == count + 1)
    #expect(text.count / (size + 1) >= count && text.count / (size + 1_000) <= count)
  }

  /// A small piece of a body, each another one.
  private static func piece(_ number: Int) -> String { "\(1_000_000 + number)" + String(repeating: "x", count: 493) }

  private static func chunks(_ numbers: Range<Int>) -> String {
    numbers.map { "1f4\r\n" + piece($0) + "\r\n" }.joined()
  }

  /// Whether the body is that many pieces in their order.
  private static func isWhole(_ body: some Collection<UInt8>, _ count: Int) -> Bool {
    Array(body) == Array((0..<count).map { piece($0) }.joined().utf8)
  }

  @Test func smallPiecesOfAnUnreadResponseComeWholeAndInOrder() throws {
    // More than the buffers of the kernel take.
    let count = 24_000
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
      for first in stride(from: 0, to: count, by: 10) { peer.send(Self.chunks(first..<(first + 10))) }
      peer.send("0\r\n\r\n")
    }
    let front = try TestFront(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let client = try TestClient(port: front.ports[0], receiveBuffer: 4_096)
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    try waitUntil { (try? unwritten(front).isBehind) ?? false }
    #expect(Self.isWhole(client.readBytesToEnd().suffix(count * 500), count))
  }

  @Test func smallPiecesOfARequestThatNobodyReadsComeWholeAndInOrder() throws {
    let count = 24_000
    let gate = Gate()
    let upstream = try TestUpstream { peer, _ in
      gate.pass()
      var all: [UInt8] = []
      while !all.suffix(5).elementsEqual("0\r\n\r\n".utf8) {
        let some = peer.readSome()
        if some.isEmpty { return }
        all += some
      }
      let head = all.withUnsafeBytes { try? HeadParser.end(of: $0, from: 0) } ?? 0
      var decoder = BodyDecoder(.chunked, trailerBytes: 100, trailerCount: 1)
      var input = ByteBuffer(bytes: all[head...])
      var body: [UInt8] = []
      while let step = try? decoder.next(&input), case .data(let piece) = step { body += piece.readableBytesView }
      peer.send("HTTP/1.1 \(Self.isWhole(body, count) ? 200 : 500) x\r\nContent-Length: 0\r\n\r\n")
    }
    let front = try TestFront(upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let client = try TestClient(port: front.ports[0])
    let sent = Counter()
    thread {
      client.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
      for first in stride(from: 0, to: count, by: 10) {
        client.send(Self.chunks(first..<(first + 10)))
        sent.add(1)
      }
      client.send("0\r\n\r\n")
    }
    // All on the way is full, or all is sent.
    _ = try sent.whenStill()
    gate.open()
    #expect(TestResponse(client.readToEnd()).status == 200)
  }
}
