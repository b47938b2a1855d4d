import Testing

@testable import BulkheadSupervisor

@Test func timersComeInTheOrderOfTheirTimesAndThenOfTheirMaking() {
  var queue = TimerQueue()
  let times = [5, 3, 9, 3, 1, 7, 3].map { Duration.seconds($0) }
  let tokens = times.map { queue.add(at: $0) }
  let next = queue.nextTime()
  #expect(next == .seconds(1))
  var order: [TimerQueue.Token] = []
  while let token = queue.popDue(at: .seconds(8)) { order.append(token) }
  #expect(order == [4, 1, 3, 6, 0, 5].map { tokens[$0] })
  #expect(queue.count == 1)
  let left = queue.nextTime()
  #expect(left == .seconds(9))
}

@Test func aCancelledTimerNeverComes() {
  var queue = TimerQueue()
  let first = queue.add(at: .seconds(1))
  let second = queue.add(at: .seconds(2))
  queue.cancel(first)
  queue.cancel(first)
  let next = queue.nextTime()
  #expect(next == .seconds(2))
  let due = [1, 2, 100].map { queue.popDue(at: .seconds($0)) }
  #expect(due == [nil, second, nil])
  let last = queue.nextTime()
  #expect(last == nil)
}

@Test func armingAndCancellingForeverKeepsTheOrder() {
  var queue = TimerQueue()
  var generator = SystemRandomNumberGenerator()
  var live: [TimerQueue.Token: Int] = [:]
  for _ in 0..<5_000 {
    let time = Int.random(in: 0..<1_000, using: &generator)
    live[queue.add(at: .milliseconds(time))] = time
    if live.count > 10, let victim = live.keys.randomElement() {
      queue.cancel(victim)
      live.removeValue(forKey: victim)
    }
  }
  #expect(queue.count == live.count)
  var last = -1
  while let token = queue.popDue(at: .seconds(2)) {
    let time = live.removeValue(forKey: token)
    #expect(time != nil)
    #expect((time ?? -1) >= last)
    last = time ?? last
  }
  #expect(live.isEmpty)
}
