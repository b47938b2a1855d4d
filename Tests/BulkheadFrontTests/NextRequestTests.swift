import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// A plugin that fails a request unmet fails the next one of the same connection just the same, or filters it again.
@Suite(.serialized) struct NextRequestTests {
  private static let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
  private static let last = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

  /// The status lines of three requests of one connection.
  private func statuses(_ front: TestFront, headers: String = "") throws -> [String] {
    let client = try TestClient(port: front.ports[0])
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\(headers)\r\n"
    client.send(request + request + "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\(headers)\r\n")
    return client.readToEnd().split(whereSeparator: \.isNewline).filter { $0.hasPrefix("HTTP/1.1 ") }.map {
      String($0.prefix(12))
    }
  }

  private static let refused = ["HTTP/1.1 503", "HTTP/1.1 503", "HTTP/1.1 503"]

  /// Waits until the front has heard that the plugin is quarantined.
  private func quarantine(_ front: TestFront) throws {
    try front.command(.pluginState(plugin: 0, state: .quarantined))
    let loop = try #require(front.front.loops.first)
    try waitUntil { (try? loop.eventLoop.submit { loop.engine.chain.plugins.first?.isQuarantined }.wait()) == true }
  }

  @Test(arguments: [FailStrategy.failClose, .failReload], [1, 2])
  func aQuarantinedPluginRefusesEachRequestOfAConnection(strategy: FailStrategy, plugins: Int) throws {
    let front = try TestFront(
      plugins: [.test("guard", strategy, [.requestHeaders])] + (1..<plugins).map { .test("open\($0)", .failOpen) })
    defer { front.stop() }
    for place in 1..<plugins { try front.addWorker(plugin: UInt32(place)) { _, _ in .goOn() } }
    try quarantine(front)
    #expect(try statuses(front) == Self.refused)
  }

  @Test func aQuarantinedPluginOfBodiesRefusesEachRequestOfAConnection() throws {
    let front = try TestFront(plugins: [.test("guard", .failClose, [.requestBody])])
    defer { front.stop() }
    try quarantine(front)
    let client = try TestClient(port: front.ports[0])
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n"
    client.send("\(head)\r\nbody\(head)Connection: close\r\n\r\nbody")
    let answers = client.readToEnd().split(whereSeparator: \.isNewline).filter { $0.hasPrefix("HTTP/1.1 ") }
    #expect(answers.map { $0.prefix(12) } == ["HTTP/1.1 503", "HTTP/1.1 503"])
  }

  @Test func anAdmissionWaitThatEndsRefusesEachRequestOfAConnection() throws {
    let front = try TestFront(plugins: [.test("guard", admission: 20)])
    defer { front.stop() }
    #expect(try statuses(front) == Self.refused)
  }

  @Test func aFullRingRefusesEachRequestOfAConnection() throws {
    let front = try TestFront(plugins: [.test("guard", deadline: 60_000, admission: 50)]) {
      $0.ring.callbacks = 4 << 10
      $0.ring.replies = 4 << 10
    }
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .hang }
    let large = "X-Large: \(String(repeating: "x", count: 2_500))\r\n"
    let holder = try TestClient(port: front.ports[0])
    holder.send("GET / HTTP/1.1\r\nHost: a\r\n\(large)\r\n")
    try worker.waitForSeen(1)
    #expect(try statuses(front, headers: large) == Self.refused)
  }

  @Test func aRecordThatNeverFitsRefusesEachRequestOfAConnection() throws {
    let front = try TestFront(plugins: [.test("guard")]) {
      $0.ring.callbacks = 4 << 10
      $0.ring.replies = 4 << 10
    }
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    let large = "X-Large: \(String(repeating: "x", count: 6_000))\r\n"
    #expect(try statuses(front, headers: large) == Self.refused)
    #expect(worker.seen.isEmpty)
  }

  @Test func aPluginThatFailedOpenFiltersTheNextRequestOfTheConnectionOnceItIsBack() throws {
    let front = try TestFront(plugins: [.test("guard", .failOpen)])
    defer { front.stop() }
    try quarantine(front)
    let client = try TestClient(port: front.ports[0])
    client.send(Self.request)
    let first = client.read(until: "\r\n\r\n")
    #expect(first.hasPrefix("HTTP/1.1 200"))
    #expect(first.range("x-filtered") == nil)
    try front.command(.pluginState(plugin: 0, state: .starting))
    try front.addWorker { _, _ in .goOn([(.add, .responseHeaders, "x-filtered", "1")]) }
    client.send(Self.last)
    #expect(client.readToEnd().range("x-filtered: 1") != nil)
  }
}
