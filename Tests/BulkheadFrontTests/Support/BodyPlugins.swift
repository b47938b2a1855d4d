import BulkheadCore
import BulkheadTestSupport
import BulkheadWire

@testable import BulkheadChain
@testable import BulkheadFront

extension CallbackSet {
  static let allHTTP: CallbackSet = [.http, .streamEnd]
}

extension FakeWorker.Action {
  static func ops(_ operations: FakeWorker.Operation...) -> Self { .reply([], operations) }
  static func pausing(_ operations: FakeWorker.Operation...) -> Self { .reply(.pause, operations) }
}

extension FakeWorker {
  /// What came of that kind.
  func seen(_ kind: CallbackKind) -> [SeenCallback] { seen.filter { $0.kind == kind } }
  /// All bytes of those records.
  func bytes(_ kind: CallbackKind) -> String { seen(kind).map(\.text).joined() }
}

extension TestFront {
  /// A request with a body of that text, whole in one write.
  func post(_ body: String, headers: String = "", listener: Int = 0) throws -> TestResponse {
    try exchange(
      "POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: \(body.utf8.count)\r\n\(headers)\r\n\(body)",
      listener: listener)
  }

  /// A request whose body is those chunks, whole in one write.
  func postChunks(_ chunks: [String], trailers: String = "", listener: Int = 0) throws -> TestResponse {
    try exchange(
      "POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunked(chunks, trailers: trailers), listener: listener)
  }
}

func chunked(_ chunks: [String], trailers: String = "") -> String {
  chunks.map { String($0.utf8.count, radix: 16) + "\r\n\($0)\r\n" }.joined() + "0\r\n\(trailers)\r\n"
}

/// An upstream that answers every request of a connection with this text, once it has read a request to its end.
func answering(_ text: String) throws -> TestUpstream {
  try TestUpstream { peer, _ in
    while !peer.read(until: "\r\n\r\n").isEmpty { peer.send(text) }
  }
}

/// An upstream that keeps what it is sent until `end` has come, and answers with 200 and nothing.
final class RecordingUpstream: Sendable {
  let upstream: TestUpstream
  private let record: Record

  final class Record: @unchecked Sendable {
    // Guarded by the lock.
    private let lock = TestLock()
    private var text = ""
    func add(_ more: String) { lock.locked { text += more } }
    var all: String { lock.locked { text } }
  }

  init(until end: String) throws {
    let record = Record()
    self.record = record
    upstream = try TestUpstream { peer, _ in
      while true {
        let text = peer.read(until: end)
        if text.isEmpty { return }
        record.add(text)
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
      }
    }
  }

  var text: String { record.all }
}
