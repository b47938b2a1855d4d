import BulkheadControl
import BulkheadCore
import Testing

@testable import BulkheadCLI

@Suite struct EventViewTests {
  static let at = Timestamp(milliseconds: 1_769_860_800_000)
  static var crash: CrashInfo {
    var crash = CrashInfo(
      reason: .trap, status: "exited with code 70", uptimeSeconds: 65, backtrace: ["0: fault\u{1B}[2J", "1: main"])
    crash.callback = "proxy_on_request_headers"
    crash.callbackMilliseconds = 1.25
    crash.stream = 7
    crash.requestID = "abc"
    crash.callbacks = 3
    crash.memoryBytes = 131_072
    return crash
  }

  @Test func aCrashStandsBelowItsEvent() throws {
    let event = EventInfo(
      sequence: 1, at: Self.at, kind: .workerCrashed, plugin: "geo", pid: 12, message: "trap: x", crash: Self.crash)
    #expect(
      try ViewTests.table.show([event]) == """
        2026-01-31T12:00:00.000Z worker_crashed geo[12]: trap: x
            in proxy_on_request_headers for 1.3 ms, stream 7, request abc
            exited with code 70, up 1m5s, 3 callbacks run, guest memory 128 KiB
              0: fault [2J
              1: main
        """)
  }

  @Test func eventsAsJSONAreOneObjectALine() throws {
    let view = View(now: Self.at, coloured: false, format: .json)
    let events = [1, 2].map { EventInfo(sequence: $0, at: Self.at, kind: .reset, plugin: "geo", message: "m") }
    let line =
      #"{"at":"2026-01-31T12:00:00.000Z","kind":"reset","message":"m","plugin":"geo","sequence":1}"#
    #expect(try view.show(events).split(separator: "\n").map(String.init).first == line)
    #expect(try view.show(events).split(separator: "\n").count == 2)
  }

  @Test func aKindThatIsNotKnownIsShown() throws {
    let text = #"{"at":"2026-01-31T12:00:00.000Z","kind":"novelty","message":"m","sequence":9}"#
    let event = try ControlJSON.decode(EventInfo.self, from: text.utf8)
    #expect(try ViewTests.table.show([event]) == "2026-01-31T12:00:00.000Z novelty: m")
  }

  @Test(
    arguments: [
      (nil, "-"), (0.0000124, "12us"), (0.0034, "3.4ms"), (1.25, "1.3s"), (.infinity, "-"), (-1.0, "-"), (1e300, "-"),
    ] as [(Double?, String)])
  func timesAreShort(_ seconds: Double?, _ text: String) { #expect(Reading.time(seconds) == text) }

  private func sample(_ callbacks: UInt64, front: Int32 = 5) -> TopSample {
    var histogram = LatencyHistogram()
    for _ in 0..<callbacks { histogram.add(5_000) }
    return TopSample(
      at: ContinuousClock().now,
      status: StatusResponse(
        version: "1", pid: 1, uptimeSeconds: 1, state: .running, front: .init(pid: front, state: .ready, restarts: 0),
        listeners: [], counts: .init(plugins: 2, ready: 1, starting: 0, backoff: 0, quarantined: 1, workers: 1)),
      plugins: [ViewTests.timing, ViewTests.geo], workers: [],
      statistics: StatisticsResponse(
        frontPid: front,
        plugins: [
          .init(
            plugin: "geo", callbacks: callbacks, failedStreams: 0, waitingStreams: 1,
            latencies: [.init(callback: "c", histogram)], channels: [])
        ]))
  }

  @Test func theBusiestPluginStandsFirstWithItsRate() throws {
    let before = sample(10)
    var after = sample(110)
    after.at = before.at + .seconds(2)
    let lines = try ViewTests.table.show(after, since: before).split(separator: "\n")
    let rows = lines.suffix(2)
    #expect(rows.first?.hasPrefix("geo") == true)
    #expect(rows.first?.contains(" 50 ") == true, "100 callbacks in 2 s: \(lines)")
    // Another front began anew.
    let other = try ViewTests.table.show(after, since: sample(10, front: 6))
    #expect(!other.contains(" 50 "))
  }
}
