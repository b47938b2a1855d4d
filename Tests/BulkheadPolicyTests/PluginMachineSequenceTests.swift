import BulkheadCore
import BulkheadPolicy
import Testing

/// What the machine promises, held against random sequences of events.
@Suite struct PluginMachineSequenceTests {
  typealias Random = SeededGenerator
  typealias Host = PluginMachineHost

  @Test(arguments: 0..<400)
  func whateverHappensThePromisesHold(seed: Int) {
    var random = Random(state: UInt64(seed))
    var host = Host(policy: Host.policy(&random), seed: UInt64(seed))
    host.send(.begin)
    for _ in 0..<400 where host.problems.isEmpty { host.step() }
    #expect(host.problems == [], "seed \(seed)")
    host.send(.end)
    for number in host.workers.keys.sorted() { host.send(.exited(number, .requested)) }
    #expect(host.problems == [], "seed \(seed), after the end")
    #expect(host.workers.isEmpty && host.timer == nil)
  }

  @Test(arguments: 0..<100)
  func whereEveryWorkerFailsAtOnceThePluginIsQuarantinedAndRecoversOnceTheyDoNot(seed: Int) {
    var random = Random(state: UInt64(seed))
    var policy = Host.policy(&random)
    // As often as it takes: the interval must outlast the waits.
    policy.budget.interval = .seconds(3_600)
    policy.budget.restarts = nil
    policy.stability = .seconds(1)
    var host = Host(policy: policy, seed: UInt64(seed))
    host.send(.begin)
    for _ in 0..<100 where host.state != .quarantined {
      if let number = host.workers.keys.min() {
        host.send(.exited(number, .configure))
      } else if let timer = host.timer {
        host.now = timer
        host.send(.timer)
      }
    }
    #expect(host.state == .quarantined, "seed \(seed)")
    #expect(
      host.paid.starts.count == (policy.restart == .never ? 0 : policy.budget.starts), "the whole budget was used")
    #expect(host.attempts == 0)
    if host.timer == nil { host.send(.reset) }
    for _ in 0..<200 where host.workers.values.count(where: \.isReady) < host.target {
      if let number = host.workers.filter({ !$0.value.isReady }).keys.min() {
        host.send(.ready(number))
      } else if let timer = host.timer {
        host.now = max(host.now, timer)
        host.send(.timer)
      }
    }
    #expect(host.workers.count == host.target && host.state == .ready, "seed \(seed)")
    #expect(host.problems == [], "seed \(seed)")
  }
}
