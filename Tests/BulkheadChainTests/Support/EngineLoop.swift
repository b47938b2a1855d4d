import BulkheadCore
import BulkheadWire

@testable import BulkheadChain

/// The event loop of an engine under test, and the process around it. Nothing happens by itself: the test says when the loop
/// takes a turn, and its clock stands still but for `advance`.
final class EngineLoop: LoopDriver {
  private(set) var now: UInt64 = 1_000_000_000_000
  private var work: [() -> Void] = []
  private var timers: [(at: UInt64, work: () -> Void)] = []

  private(set) var events: [FrontEvent] = []
  private(set) var lines: [String] = []
  /// Workers that it was told to let go of, and those that are idle, by number.
  private(set) var letGo: [UInt64] = []
  private(set) var idle: [UInt64] = []
  private(set) var pluginsLetGo: [UInt32] = []

  /// Does what was given to it for the end of this turn.
  ///
  /// - Returns: whether there was anything.
  func turn() -> Bool {
    guard !work.isEmpty else { return false }
    let due = work
    work = []
    for work in due { work() }
    return true
  }

  /// Moves the clock, not further than that time, to the next timer, and runs it.
  ///
  /// - Returns: false where none is due by then: the clock is at that time.
  func fire(until time: UInt64) -> Bool {
    guard let next = timers.indices.min(by: { timers[$0].at < timers[$1].at }), timers[next].at <= time else {
      now = time
      return false
    }
    let timer = timers.remove(at: next)
    now = max(now, timer.at)
    timer.work()
    return true
  }

  /// What it was told so far is of no interest.
  func forget() {
    events = []
    lines = []
  }

  func execute(_ work: @escaping () -> Void) { self.work.append(work) }

  func schedule(in nanoseconds: UInt64, _ work: @escaping () -> Void) {
    timers.append((now &+ nanoseconds, work))
  }

  func send(_ event: FrontEvent) { events.append(event) }

  func log(_ level: LogLevel, request: String, _ message: @autoclosure () -> String) { lines.append(message()) }

  func condemn(worker: UInt64, reason: ExitReason) {}
  func spread(_ fingerprint: Fingerprint, of plugin: UInt32, now: UInt64) {}
  func spread(standing request: UInt64?, in worker: UInt64, of plugin: UInt32) {}
  func isIdle(_ mapping: WorkerMapping) { idle.append(mapping.worker) }
  func letGo(of mapping: WorkerMapping) { letGo.append(mapping.worker) }
  func letGo(ofPlugin number: UInt32) { pluginsLetGo.append(number) }
  func perform(_ outcome: PluginOutcome, from link: WorkerLink) {}
  func callsEnd(of link: WorkerLink) {}
  func callsEnd(_ tokens: [UInt32], of link: WorkerLink) {}
  func callsEnd(ofStream stream: UInt32) {}
  func callsGoOn() {}
  func endpoints(ofUpstream name: UnsafeRawBufferPointer) -> [UInt8]? { nil }
}
