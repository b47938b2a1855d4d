import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// Many clients and two event loops while workers die.
@Suite(.serialized) struct LoadTests {
  /// Sends requests on a few connections at once, each in a thread; returns the statuses by number.
  private func load(_ front: TestFront, connections: Int, requests: Int) throws -> [Int: Int] {
    let done = Counter()
    let lock = TestLock()
    final class Tally: @unchecked Sendable { var counts: [Int: Int] = [:] }
    // Touched under the lock alone.
    let tally = Tally()
    for _ in 0..<connections {
      thread {
        var client = try? TestClient(port: front.ports[0])
        for _ in 0..<requests {
          client?.send("GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
          let head = client?.read(until: "\r\n\r\n") ?? ""
          let response = TestResponse(head)
          // The body may come with the head or behind it.
          let length =
            head.split(separator: "\r\n").first { $0.hasPrefix("content-length: ") }
            .flatMap { Int($0.dropFirst(16)) } ?? 0
          var body = response.body.utf8.count
          while body < length, let some = client?.readSome(), !some.isEmpty { body += some.count }
          lock.locked { tally.counts[response.status, default: 0] += 1 }
          if response.status == 0 { client = try? TestClient(port: front.ports[0]) }
        }
        done.add(1)
      }
    }
    try waitUntil { done.value == connections }
    return lock.locked { tally.counts }
  }

  @Test(arguments: [FailStrategy.failOpen, .failClose])
  func workersThatDieUnderLoadCostWhatThePolicySays(strategy: FailStrategy) throws {
    let front = try TestFront(plugins: [.test("guard", strategy), .test("other")], eventLoops: 2, spin: 20)
    defer { front.stop() }
    let other = try front.addWorker(plugin: 1) { _, _ in .goOn([(.add, .responseHeaders, "x-other", "1")]) }
    let finished = Counter()
    let crashes = Counter()
    let supervisor = TestLock()
    thread {
      // Stands in for the supervisor: a fresh worker for each that dies.
      while finished.value == 0 {
        guard
          let worker = supervisor.locked({
            try? front.addWorker(plugin: 0) { _, index in index >= 150 ? (index % 2 == 0 ? .die : .dieUnseen) : .goOn()
            }
          })
        else { return }
        while finished.value == 0 {
          let gone = supervisor.locked { (try? front.waitForEvent { $0 == .workerGone(worker: worker.number) }) != nil }
          if gone { break }
        }
        crashes.add(1)
      }
    }
    let counts = try load(front, connections: 8, requests: 150)
    finished.add(1)
    #expect(counts.values.reduce(0, +) == 1_200)
    if strategy == .failOpen {
      #expect(counts == [200: 1_200])
      try other.waitForSeen(1_200) { $0.kind == .responseHeaders }
    } else {
      #expect(Set(counts.keys).isSubset(of: [200, 503]))
      // Each death costs at most the streams that the worker had.
      #expect(counts[503, default: 0] <= (crashes.value + 1) * 8)
      #expect(counts[503, default: 0] > 0)
    }
  }

  @Test func aClientThatPipelinesWithoutReadingIsHeldBack() throws {
    let front = try TestFront()
    defer { front.stop() }
    let sent = Counter()
    let port = front.ports[0]
    thread {
      guard let client = try? TestClient(port: port) else { return }
      let requests = String(repeating: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", count: 2_500)
      for _ in 0..<2_000 {
        client.send(requests)
        sent.add(1)
      }
    }
    // 65 KiB each: kernel buffers hold some of it; the front must not take the rest.
    #expect(try sent.whenStill() < 1_000)
  }
}
