import BulkheadCore
import BulkheadSystem
import Testing

@testable import BulkheadSupervisor

@Suite struct EventLoopTests {
  @Test func whatIsPostedIsDoneInItsOrderWhenTheHandlerHasReturned() throws {
    let loop = try EventLoop()
    var order: [String] = []
    loop.after(.zero) {
      loop.post {
        order.append("first")
        loop.post { order.append("third") }
      }
      loop.post { order.append("second") }
      order.append("handler")
    }
    try loop.run(until: { order.count == 4 })
    #expect(order == ["handler", "first", "second", "third"])
  }

  @Test func aTimerThatSomethingPostedTakesAwayDoesNotCome() throws {
    let loop = try EventLoop()
    var order: [String] = []
    var second: TimerQueue.Token?
    loop.after(.zero) { loop.post { loop.cancel(&second) } }
    second = loop.after(.zero) { order.append("second") }
    loop.after(.zero) { order.append("third") }
    try loop.run(until: { !order.isEmpty })
    #expect(order == ["third"])
  }

  @Test func theEndOfARoundSeesAllThatWasPostedAndComesAgainAfterWhatItPosts() throws {
    let loop = try EventLoop()
    var order: [String] = []
    loop.post { order.append("posted before") }
    try loop.run(
      until: { order.count > 3 },
      atRoundsEnd: {
        order.append("end")
        if order.count == 2 { loop.post { order.append("posted at the end") } }
      })
    #expect(order == ["posted before", "end", "posted at the end", "end"])
  }

  @Test func whatWasPostedBeforeTheLoopWaitsDoesNotWait() throws {
    let loop = try EventLoop()
    var isDone = false
    loop.after(.seconds(3_600)) {}
    loop.post { isDone = true }
    try loop.run(until: { isDone })
  }

  @Test func roundsAreMeasuredWithoutTheirWait() throws {
    let loop = try EventLoop()
    var isDone = false
    loop.after(.milliseconds(30)) { isDone = true }
    try loop.run(until: { isDone })
    #expect(loop.rounds.histogram.count >= 1)
    #expect(loop.rounds.histogram.sumNanoseconds < 30_000_000, "the wait is no part of it")
    #expect(loop.rounds.longestSeconds > 0)

    let before = loop.rounds
    isDone = false
    loop.post {
      let end = Clock.monotonicNanoseconds + 5_000_000
      while Clock.monotonicNanoseconds < end {}
      isDone = true
    }
    try loop.run(until: { isDone })
    #expect(loop.rounds.longestSeconds >= 0.005)
    let round = loop.rounds.histogram.since(before.histogram)
    #expect(round.count == 1 && round.sumNanoseconds >= 5_000_000)
  }

  @Test func roundsAreToldAsAHistogram() {
    var rounds = RoundTimes()
    for nanoseconds in [500, 1_500, 3_000_000, 1 << 40] as [UInt64] { rounds.add(nanoseconds: nanoseconds) }
    var text = PrometheusText(maximumBytes: 1 << 20)
    rounds.write(&text)
    let lines = text.lines.filter { !$0.hasPrefix("#") }
    #expect(lines.first == "bulkhead_supervisor_round_seconds_bucket{le=\"1.024e-06\"} 1")
    #expect(lines.contains("bulkhead_supervisor_round_seconds_bucket{le=\"+Inf\"} 4"))
    #expect(lines.contains("bulkhead_supervisor_round_seconds_count 4"))
    #expect(lines.last == "bulkhead_supervisor_longest_round_seconds \(Double(1 << 40 as UInt64) / 1e9)")
  }
}
