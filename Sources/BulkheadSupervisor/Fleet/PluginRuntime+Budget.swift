import BulkheadControl
import BulkheadPolicy

/// What is told of a plugin's crash budget.
extension PluginRuntime {
  /// What it counts, and what it allows.
  func budget(at now: Duration) -> PluginInfo.Budget { budget(of: machine, at: now) }

  /// The same of one of its sets of workers.
  func budget(of machine: PluginMachine, at now: Duration) -> PluginInfo.Budget {
    let allowed = machine.policy.budget
    let work = machine.work(at: now)
    return .init(
      intervalSeconds: allowed.interval.inSeconds, deaths: work.deaths, requests: work.requests,
      processorPercent: work.processorPercent(of: allowed.interval), failedStarts: machine.failedStarts(at: now),
      restarts: machine.countedRestarts(at: now), isSpent: machine.isExhausted,
      allowed: .init(
        sharePercent: allowed.share, processorPercent: allowed.cpu, failedStarts: allowed.starts,
        restarts: allowed.restarts))
  }

  /// Which bound was passed, with the figures.
  func whySpent(_ machine: PluginMachine) -> String {
    let allowed = machine.policy.budget
    let interval = allowed.interval.text
    switch machine.spentBudget {
    case nil: return "its crash budget is spent"
    case .noRestarts: return "its policy restarts no worker that failed"
    case .starts(let count):
      return "\(count) starts within \(interval) were in place of workers that died before they served (budget.starts)"
    case .restarts(let count): return "\(count) restarts within \(interval) are used up (budget.restarts)"
    case .work(let work):
      let share = PluginInfo.Budget.percent(work.deathPercent)
      let cost = PluginInfo.Budget.percent(work.processorPercent(of: allowed.interval))
      return
        "\(work.deaths) deaths of \(work.requests) requests (\(share) %) wasted \(cost) % of a CPU within \(interval), "
        + "and more than \(allowed.share ?? 100) % (budget.share) and \(allowed.cpu ?? 100) % (budget.cpu) is too much"
    }
  }
}
