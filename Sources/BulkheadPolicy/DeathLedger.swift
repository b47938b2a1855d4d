/// What a plugin's deaths and its work amounted to over some time.
public struct PluginWork: Hashable, Sendable {
  /// Ends of VMs and of workers that had served.
  public var deaths: UInt64
  /// Requests and connections that the plugin was given and that it answered, or died of.
  public var requests: UInt64
  /// The processor time that those deaths wasted: of the callbacks that came to nothing, and of the fresh VMs and workers.
  public var cost: Duration

  /// No work, but for what is said.
  public init(deaths: UInt64 = 0, requests: UInt64 = 0, cost: Duration = .zero) {
    self.deaths = deaths
    self.requests = requests
    self.cost = cost
  }

  /// What of an interval that is worth, in percent of one processor.
  public func processorPercent(of interval: Duration) -> Double {
    interval > .zero ? cost / interval * 100 : 0
  }

  /// How many of the requests were deaths, in percent.
  public var deathPercent: Double { requests > 0 ? Double(deaths) / Double(requests) * 100 : 0 }
}

/// Which bound of a crash budget is passed.
public enum SpentBudget: Hashable, Sendable {
  /// The policy restarts nothing that failed.
  case noRestarts
  /// `budget.starts`: so many starts within the interval were in place of workers that died before they served.
  case starts(Int)
  /// `budget.restarts`: so many restarts within the interval.
  case restarts(Int)
  /// `budget.share` and `budget.cpu`: what lay within the interval.
  case work(PluginWork)
}

/// What a plugin's crash budget counts, and whether it allows one more restart.
///
/// It has no clock: times come with each call, and never go back.
struct DeathLedger: Hashable {
  /// What a plugin's end says of it.
  enum Death: Hashable {
    /// It died before it served.
    case fruitless
    /// It serves, all in all.
    case productive
  }

  /// Restarts in place of workers that died before they served.
  private var starts = RecentTimes()
  /// Those, restarts of workers that had served, and renewals.
  private var restarts = RecentTimes()
  private var window = WorkWindow()

  /// A VM, or a worker, of a plugin that serves is dead.
  mutating func died(cost: Duration, at now: Duration, _ budget: CrashPolicy.Budget) {
    window.add(PluginWork(deaths: 1, requests: 1, cost: max(cost, .zero)), at: now, interval: budget.interval)
  }

  mutating func worked(requests: UInt64, at now: Duration, _ budget: CrashPolicy.Budget) {
    window.add(PluginWork(requests: requests), at: now, interval: budget.interval)
  }

  /// A restart takes place.
  mutating func restarted(after death: Death, at now: Duration, _ budget: CrashPolicy.Budget) {
    if death == .fruitless { starts.append(now, most: budget.starts) }
    // Where their number does not matter they are not kept.
    if let most = budget.restarts { restarts.append(now, most: most) }
  }

  /// Which bound forbids one more restart; nil where none does.
  mutating func bound(after death: Death, at now: Duration, _ policy: CrashPolicy) -> SpentBudget? {
    let budget = policy.budget
    guard policy.restart == .always else { return .noRestarts }
    if death == .fruitless, starts.count(within: budget.interval, of: now) >= budget.starts {
      return .starts(budget.starts)
    }
    if let most = budget.restarts, restarts.count(within: budget.interval, of: now) >= most { return .restarts(most) }
    guard death == .productive else { return nil }
    let work = work(at: now, budget)
    return Self.isTooMuch(work, budget) ? .work(work) : nil
  }

  /// Whether deaths pass both bounds, and are enough to say so.
  static func isTooMuch(_ work: PluginWork, _ budget: CrashPolicy.Budget) -> Bool {
    guard let share = budget.share, let cpu = budget.cpu else { return false }
    guard work.deaths >= UInt64(CrashPolicy.Budget.leastDeaths) else { return false }
    let isTooMany =
      work.deaths.multipliedFullWidth(by: 100) > work.requests.multipliedFullWidth(by: UInt64(clamping: share))
    return isTooMany && work.cost * 100 > budget.interval * cpu
  }

  /// What lies within the interval.
  func work(at now: Duration, _ budget: CrashPolicy.Budget) -> PluginWork {
    window.sum(at: now, interval: budget.interval)
  }

  /// Starts within the interval in place of workers that died before they served.
  func failedStarts(at now: Duration, _ budget: CrashPolicy.Budget) -> Int {
    var starts = starts
    return starts.count(within: budget.interval, of: now)
  }

  /// Restarts and renewals within the interval; nil where the budget does not count them.
  func countedRestarts(at now: Duration, _ budget: CrashPolicy.Budget) -> Int? {
    guard budget.restarts != nil else { return nil }
    var restarts = restarts
    return restarts.count(within: budget.interval, of: now)
  }
}

/// When something took place, as far back as it matters: each look and each entry costs the same, however many there are.
private struct RecentTimes: Hashable {
  private var times: [Duration] = []
  /// What stands before it is over.
  private var first = 0

  /// - Parameter most: more than so many are never asked for.
  mutating func append(_ time: Duration, most: Int) {
    times.append(time)
    if times.count - first > max(most, 1) { first += 1 }
    guard first > 64, first * 2 > times.count else { return }
    times.removeFirst(first)
    first = 0
  }

  mutating func count(within interval: Duration, of now: Duration) -> Int {
    while first < times.count, now - times[first] >= interval { first += 1 }
    return times.count - first
  }
}

/// Sums over an interval, in steps of a sixtieth of it: what it says covers the step that is not over yet and those 59 before
/// it, never more than the interval.
private struct WorkWindow: Hashable {
  private static let steps = 60

  private struct Step: Hashable {
    /// Which one since the clock's beginning; -1 for none.
    var number: Int64 = -1
    var work = PluginWork()
  }

  private var ring: [Step] = []

  mutating func add(_ work: PluginWork, at now: Duration, interval: Duration) {
    if ring.isEmpty { ring = Array(repeating: Step(), count: Self.steps) }
    let number = Self.number(now, interval)
    let place = Int(number % Int64(Self.steps))
    if ring[place].number != number { ring[place] = Step(number: number) }
    ring[place].work.add(work)
  }

  func sum(at now: Duration, interval: Duration) -> PluginWork {
    let number = Self.number(now, interval)
    var sum = PluginWork()
    for step in ring where step.number >= 0 && step.number > number - Int64(Self.steps) { sum.add(step.work) }
    return sum
  }

  private static func number(_ now: Duration, _ interval: Duration) -> Int64 {
    let step = max(interval / steps, .nanoseconds(1))
    return max(nanoseconds(now) / max(nanoseconds(step), 1), 0)
  }

  private static func nanoseconds(_ duration: Duration) -> Int64 {
    let (seconds, attoseconds) = duration.components
    guard seconds < Int64.max / 1_000_000_000 - 1 else { return .max }
    return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
  }
}

extension PluginWork {
  /// Sums that would not fit stay at the largest number.
  fileprivate mutating func add(_ other: PluginWork) {
    func sum(_ a: UInt64, _ b: UInt64) -> UInt64 {
      let (sum, overflow) = a.addingReportingOverflow(b)
      return overflow ? .max : sum
    }
    deaths = sum(deaths, other.deaths)
    requests = sum(requests, other.requests)
    // Years of processor time are enough to say that it is too much.
    cost = min(cost + min(other.cost, Self.longest), Self.longest)
  }

  private static var longest: Duration { .seconds(1_000_000_000) }
}
