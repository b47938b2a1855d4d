import BulkheadControl
import Foundation
import Testing

/// Plugins that die in the middle of something: what the front held for them goes with them, and a stream that does not
/// need them gets all of its bytes.
@Suite struct LeakTests {
  /// A script of the conformance suite's plugin (Tests/Conformance/README.md) that ends in its death.
  struct Death: Sendable, CustomStringConvertible {
    var description: String
    var script: String
    var body: Int?
    var path = "/"
  }

  static let deaths = [
    Death(description: "a held request body", script: "qbm: pause| qbe: trap", body: 150_000),
    Death(description: "a held response body", script: "pbm: pause| pbe: trap", path: "/large"),
    Death(
      description: "a paused stream with a call in flight",
      script: "qh: http_call 'up {:method=GET,:path=/hang,:authority=a} ' {} 60000 &n0; "
        + "set_tick_period_milliseconds 5; pause| tick1: trap"),
    Death(
      description: "a paused stream with a property and a metric of its own",
      script: "qh: set_property 'p *10000x; define_metric 0 'leak &n0; increment_metric $0 1; "
        + "set_tick_period_milliseconds 5; pause| tick1: trap"),
    Death(
      description: "messages in a queue",
      script: "qh: register_shared_queue 'q &n0; enqueue_shared_queue $0 *1000x; set_shared_data 'd *1000x 0; trap"),
  ]

  /// Calls to the upstream that hangs which have ended.
  final class Counter: @unchecked Sendable {
    // Guarded by the lock.
    private let lock = NSLock()
    private var begun = 0
    private var ended = 0
    func begin() { lock.withLock { begun += 1 } }
    func end() { lock.withLock { ended += 1 } }
    var open: Int { lock.withLock { begun - ended } }
  }

  /// Answers `/large` with many bytes, anything else with the number of bytes that came; lets `/hang` wait.
  static func upstream(_ hanging: Counter) throws -> ScriptedUpstream {
    try ScriptedUpstream { peer in
      while let head = (try? peer.readHead()) ?? nil {
        if head.hasPrefix("GET /hang") {
          hanging.begin()
          while !peer.read(1).isEmpty {}
          hanging.end()
          return
        }
        let length =
          head.lowercased().split(separator: "\r\n").first { $0.hasPrefix("content-length:") }
          .flatMap { Int($0.dropFirst(15).trimmingCharacters(in: .whitespaces)) } ?? 0
        var got = 0
        while got < length {
          let bytes = peer.read(length - got)
          guard !bytes.isEmpty else { return }
          got += bytes.count
        }
        let body = head.hasPrefix("GET /large") ? [UInt8](repeating: 120, count: 150_000) : Array("\(got)".utf8)
        guard (try? peer.write("HTTP/1.1 200 OK\r\ncontent-length: \(body.count)\r\n\r\n")) != nil,
          (try? peer.write(body)) != nil
        else { return }
      }
    }
  }

  private func descriptors(of pid: Int32) throws -> Int {
    try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").count
  }

  private func residentBytes(of pid: Int32) throws -> Int {
    let fields = try String(contentsOfFile: "/proc/\(pid)/statm", encoding: .utf8).split(separator: " ")
    return (Int(fields[1]) ?? 0) * 4_096
  }

  private func die(_ death: Death, _ bulkhead: Bulkhead) throws -> Int {
    let body = death.body.map { [UInt8](repeating: 120, count: $0) }
    let headers = [("x-script-a", death.script), ("connection", "close")]
    // A response whose head is on its way is cut: that is an end too.
    guard
      let answer = try? bulkhead.connection().request(
        body == nil ? "GET" : "POST", death.path, headers: headers, body: body)
    else { return 0 }
    return answer.status
  }

  @Test(arguments: deaths) func aPluginThatDiesLeavesNothingInTheFront(_ death: Death) throws {
    let hanging = Counter()
    let upstream = try Self.upstream(hanging)
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "a", module: "conformance-0.2.1", configuration: "{name: a}")],
      upstream: "{name: up, endpoints: [\"127.0.0.1:\(upstream.port)\"]}")
    let front = try #require(try bulkhead.status().front.pid)
    func round() throws {
      let restarts = try bulkhead.plugin("a").restarts
      #expect([0, 503].contains(try die(death, bulkhead)), "\(death)")
      try bulkhead.wait("the plugin is replaced") {
        let plugin = try bulkhead.plugin("a")
        return plugin.restarts > restarts && plugin.state == .ready
      }
    }
    // What is made once, a buffer or a connection that is kept, is there after these.
    for _ in 0..<8 { try round() }
    let before = (descriptors: try descriptors(of: front), bytes: try residentBytes(of: front))
    for _ in 0..<24 { try round() }
    try bulkhead.wait("the calls in flight have ended with their streams") { hanging.open == 0 }
    try bulkhead.wait("the front's descriptors are as many as before") {
      try descriptors(of: front) <= before.descriptors + 2
    }
    let grown = try residentBytes(of: front) - before.bytes
    #expect(grown < 4 << 20, "the front grew by \(grown >> 10) KiB in 24 rounds")
    #expect(try bulkhead.status().front.pid == front, "the front itself never ended")
    #expect(try bulkhead.get().status == 200)
  }

  @Test func aFailOpenPluginThatDiesWithABodyLosesNoByteOfIt() throws {
    let upstream = try Self.upstream(Counter())
    let bulkhead = try Bulkhead(
      plugins: [
        TestPlugin(name: "a", module: "conformance-0.2.1", failStrategy: "FAIL_OPEN", configuration: "{name: a}")
      ],
      upstream: "{name: up, endpoints: [\"127.0.0.1:\(upstream.port)\"]}")
    let body = [UInt8](repeating: 120, count: 150_000)
    let sent = try bulkhead.connection().request(
      "POST", "/", headers: [("x-script-a", "qbm: pause| qbe: trap")], body: body)
    #expect(sent.status == 200)
    #expect(sent.text == "150000")
    try bulkhead.wait("the plugin is replaced") { try bulkhead.plugin("a").state == .ready }
    let received = try bulkhead.get("/large", [("x-script-a", "pbm: pause| pbe: trap")])
    #expect(received.status == 200)
    #expect(received.body == body)
  }
}
