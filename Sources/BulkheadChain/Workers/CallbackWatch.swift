import BulkheadCore

/// The watch over what one worker runs, for one event loop: behind what runs long nobody new has to wait, what runs past its
/// deadline is interrupted, and a worker that does not come back by that is lost.
///
/// A pure state machine: it takes what the worker says that it runs, what was sent to it and a time, and says what is to be
/// done now.
struct CallbackWatch {
  /// Whether what the worker runs has become slow.
  enum Pace: Equatable {
    /// Look again at that time (CLOCK_MONOTONIC, ns); `UInt64.max` where there is no need.
    case asBefore(look: UInt64)
    /// From now on streams that are new to the worker go elsewhere.
    case becameSlow
  }

  /// What is to be done with the first callback that is outstanding.
  enum Verdict: Equatable {
    /// Nothing is outstanding.
    case nothing
    /// Look again at that time (CLOCK_MONOTONIC, ns).
    case waits(until: UInt64)
    /// The worker starts a fresh VM: the callback's time runs from now. Look again at that time.
    case starts(look: UInt64)
    /// It ran past its deadline: its stream fails, and the supervisor interrupts the worker. Look again at that time.
    case interrupts(until: UInt64)
    /// The worker is lost, and the first callback fails whatever the worker says of it.
    case overdue(why: String)
    /// The worker is lost at something else.
    case stuck(why: String)
  }

  private struct Overdue {
    var sequence: UInt64
    /// CLOCK_MONOTONIC, ns.
    var until: UInt64
  }

  /// The first callback ran past its deadline and its stream has failed: the worker is being interrupted, and is lost where
  /// nothing comes of that in time.
  private var overdue: Overdue?
  /// What the worker runs has run for `slow`: streams that are new to it go elsewhere until that is over.
  private(set) var isSlow = false
  /// Since when the worker has been seen to start a VM: CLOCK_MONOTONIC, ns; 0 where it was not.
  private var startsSince: UInt64 = 0

  /// The longest that a VM that starts is not looked at again: ns.
  static let startLook: UInt64 = 5_000_000

  /// Whether the stream of that callback has failed by its deadline, and the worker is being interrupted.
  func isInterrupted(at sequence: UInt64) -> Bool { overdue?.sequence == sequence }

  /// The first callback was answered.
  ///
  /// - Returns: whether the worker was slow until then.
  @inline(__always)
  mutating func answered() -> Bool {
    if overdue != nil { overdue = nil }
    guard isSlow else { return false }
    isSlow = false
    return true
  }

  /// Looks whether what the worker runs has run for so long that others are not to wait behind it.
  ///
  /// - Parameters:
  ///   - running: what the worker says.
  ///   - awaited: callbacks that it has not answered.
  ///   - slow: after what time, ns; `UInt64.max` for never.
  mutating func pace(_ running: ChannelLedger.Running, awaited: Int, slow: UInt64, now: UInt64) -> Pace {
    guard slow != .max, !isSlow, awaited > 0 else { return .asBefore(look: .max) }
    let since: UInt64
    switch running {
    // It has not come to it yet: that is for the kernel, and no other worker would come sooner.
    case .nothing: return .asBefore(look: now &+ slow)
    case .mine(let begun), .other(_, let begun): since = begun
    }
    guard now >= since, now &- since >= slow else { return .asBefore(look: since &+ slow) }
    isSlow = true
    return .becameSlow
  }

  /// Judges the first callback.
  ///
  /// - Parameters:
  ///   - ledger: what was sent to the worker.
  ///   - running: what the worker says.
  ///   - settings: of the plugin.
  ///   - loops: event loops of the front.
  ///   - latest: look again at that time at the latest where the callback has time: CLOCK_MONOTONIC, ns.
  mutating func judge(
    _ ledger: ChannelLedger, _ running: ChannelLedger.Running, _ settings: PluginSettings, loops: Int, latest: UInt64,
    now: UInt64
  ) -> Verdict {
    if starts(running, settings, now: now) {
      return .starts(look: min(now &+ min(settings.deadlines.shortest, Self.startLook), latest))
    }
    guard
      let lateness = ledger.lateness(
        now: now, deadlines: settings.deadlines, running: running, loops: loops,
        grace: settings.renews ? settings.grace : 0)
    else { return .nothing }
    switch lateness {
    case .waits(let until): return .waits(until: min(until, latest))
    case .overdue(let workedOn):
      if workedOn, settings.renews, let head = ledger.head {
        guard let overdue, overdue.sequence == head.sequence else {
          let until = now &+ settings.grace
          self.overdue = Overdue(sequence: head.sequence, until: until)
          return .interrupts(until: until)
        }
        if now < overdue.until { return .waits(until: overdue.until) }
      }
      let kind = ledger.head?.kind ?? .none
      let limit = settings.deadlines[kind] / 1_000_000
      let what = kind == .none ? "a callback" : kind.name
      return .overdue(
        why: workedOn ? "\(what) ran longer than \(limit) ms" : "\(what) was not answered within \(limit) ms")
    case .stuck(let kind, let milliseconds):
      return .stuck(
        why: "\(kind?.name ?? "a callback") has run for \(milliseconds) ms, and others wait behind it")
    }
  }

  /// Whether the worker starts a fresh VM: what waits meanwhile has its time afterwards. It is believed as long as a start
  /// may take.
  private mutating func starts(_ running: ChannelLedger.Running, _ settings: PluginSettings, now: UInt64) -> Bool {
    guard settings.renews, case .other(let kind, _) = running, kind == .vmStart || kind == .configure else {
      startsSince = 0
      return false
    }
    if startsSince == 0 { startsSince = now }
    return now &- startsSince < settings.startDeadline
  }
}
