import Foundation
import Testing

/// Many slow clients against a plugin's room for open streams, as one attacker opens them.
@Suite(.serialized) struct OverloadTests {
  /// Requests whose bodies never come to their end; a plugin that wants whole ones holds back what came.
  private static func dawdlers(_ bulkhead: Bulkhead, _ count: Int) throws -> [HTTPConnection] {
    let head = "POST / HTTP/1.1\r\nhost: a\r\nx-pass: 1\r\ncontent-length: 1000000\r\n\r\n"
    let bytes = Array(head.utf8) + [UInt8](repeating: 0x61, count: 990_000)
    return try (0..<count).map { _ in
      let connection = try bulkhead.connection()
      try connection.send(bytes)
      return connection
    }
  }

  private static func metric(_ bulkhead: Bulkhead, _ line: String) throws -> Int {
    let text = try bulkhead.control("GET", "/v1/metrics").text
    return text.split(separator: "\n").first { $0.hasPrefix(line) }.flatMap {
      $0.split(separator: " ").last.flatMap { Int($0) }
    } ?? -1
  }

  @Test(arguments: ["FAIL_CLOSE", "FAIL_OPEN"])
  func slowPostsShutNobodyOutAndOpenNoGate(_ strategy: String) throws {
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "guard", module: "holder", failStrategy: strategy, policy: "calm")],
      files: ["policies/calm.yaml": "name: calm\ncallbackDeadline: 30s\nadmissionWait: 5s\n"])
    // A worker keeps 64 MiB, which are 67 of them.
    let slow = try Self.dawdlers(bulkhead, 80)
    for _ in 0..<3 {
      let answer = try bulkhead.get("/", [("x-pass", "1")])
      #expect(answer.status == 200, "\(answer)")
      let bad = try bulkhead.get()
      #expect(bad.status == 403, "the guard is asked: \(bad)")
    }
    let first = try slow[0].receive()
    #expect(first.status == 408, "\(first)")
    #expect(first.text.contains("overload"))
    #expect(try Self.metric(bulkhead, "bulkhead_shed_streams_total{plugin=\"guard\"}") >= 1)
    #expect(try Self.metric(bulkhead, "bulkhead_overloaded_streams_total{plugin=\"guard\"") == 0)
    #expect(try Self.metric(bulkhead, "bulkhead_failed_streams_total{plugin=\"guard\"") == 0)
  }
}
