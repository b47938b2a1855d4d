import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// What streams keep in a worker counts as it grows, not only as it was when they began.
@Suite(.serialized) struct HeldHeadersTests {
  @Test func headersThatAPluginMadeLargeCountAgainstWhatItsWorkerMayKeep() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, admission: 100)]) {
      $0.ring.callbacks = 1 << 20
      $0.ring.replies = 1 << 20
      $0.bounds.headerBytes = ByteCount(bytes: 64 << 10)
    }
    defer { front.stop() }
    let large = String(repeating: "v", count: 125_000)
    let worker = try front.addWorker { callback, _ in
      switch callback.kind {
      case .requestHeaders: .goOn([(.add, .requestHeaders, "x-large", large)])
      case .responseHeaders: .reply(.pause, [.edit(.add, .responseHeaders, "x-large", large)])
      default: .keepQuiet
      }
    }
    // A stream counts four times the value: 133 of them are 64 MiB.
    var clients: [TestClient] = []
    for burst in 1...14 {
      for _ in 0..<10 {
        let client = try TestClient(port: front.ports[0])
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        clients.append(client)
      }
      try worker.waitForSeen(min(10 * burst, 134)) { $0.kind == .responseHeaders }
    }
    let late = try TestClient(port: front.ports[0])
    late.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    #expect(TestResponse(late.readToEnd()).status == 503)
    // Those that end make room.
    let streams = Set(worker.seen.map(\.stream))
    for stream in streams { worker.act(stream: stream, flags: .closeStream) }
    try worker.waitForSeen(streams.count) { $0.kind == .streamDone }
    let next = try TestClient(port: front.ports[0])
    next.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    try worker.waitForSeen(streams.count + 1) { $0.kind == .responseHeaders }
  }
}
