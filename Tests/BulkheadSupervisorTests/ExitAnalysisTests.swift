import BulkheadCore
import BulkheadRing
import BulkheadSystem
import CBulkheadRing
import Glibc
import Testing

@testable import BulkheadSupervisor

struct EndCase: Sendable, CustomTestStringConvertible {
  var name: String
  var first: ExitCause?
  var end: BulkheadSystem.ExitStatus
  var wasReady = true
  var wasKilled = false
  var reason: ExitReason
  var detail: String

  var testDescription: String { name }
}

private let trap = ExitCause(reason: .trap, detail: "unreachable")
private let deadline = ExitCause(reason: .deadline, detail: "ran longer than 100 ms")

@Test(arguments: [
  EndCase(
    name: "its own fault, then its exit code", first: trap, end: .exited(code: 70), reason: .trap, detail: "unreachable"
  ),
  EndCase(
    name: "a deadline, then our SIGKILL", first: deadline, end: .signaled(signal: SIGKILL, coreDumped: false),
    wasKilled: true, reason: .deadline, detail: "ran longer than 100 ms"),
  EndCase(
    name: "a fault, then SIGSYS on the way out", first: trap, end: .signaled(signal: SIGSYS, coreDumped: true),
    reason: .trap, detail: "unreachable"),
  EndCase(
    name: "SIGSYS", end: .signaled(signal: SIGSYS, coreDumped: false), reason: .seccomp, detail: "seccomp filter"),
  EndCase(
    name: "a foreign SIGKILL", end: .signaled(signal: SIGKILL, coreDumped: false), reason: .signal,
    detail: "the supervisor did not send"),
  EndCase(
    name: "our SIGKILL", end: .signaled(signal: SIGKILL, coreDumped: false), wasKilled: true, reason: .requested,
    detail: "by the supervisor"),
  EndCase(
    name: "SIGSEGV", end: .signaled(signal: SIGSEGV, coreDumped: true), reason: .signal, detail: "killed by SIGSEGV"),
  EndCase(
    name: "SIGSEGV although we were about to kill it", end: .signaled(signal: SIGSEGV, coreDumped: true),
    wasKilled: true, reason: .signal, detail: "killed by SIGSEGV"),
  EndCase(name: "exit code 0", end: .exited(code: 0), reason: .trap, detail: "exit code 0"),
  EndCase(
    name: "an exit before it was ready", end: .exited(code: 78), wasReady: false, reason: .configure,
    detail: "before it was ready"),
])
func theFirstCauseOfAnEndWins(_ end: EndCase) {
  let cause = ExitAnalysis.cause(
    .init(first: end.first, end: end.end, wasReady: end.wasReady, wasKilled: end.wasKilled))
  #expect(cause.reason == end.reason)
  #expect(cause.detail.contains(end.detail), "\(cause.detail)")
}

@Test(arguments: ExitReason.allCases)
func aWorkerCannotClaimAnEndThatGoesFree(_ reason: ExitReason) {
  let claim = ExitAnalysis.claim(reason, detail: "d")
  #expect(claim.reason != .requested)
  let believed: Set<ExitReason> = [.trap, .deadline, .memory, .configure, .protocolViolation]
  #expect(claim.reason == (believed.contains(reason) ? reason : .protocolViolation))
}

@Test(arguments: ExitReason.allCases)
func theFrontCanOnlyBlameWhatItSees(_ reason: ExitReason) {
  #expect(ExitAnalysis.verdict(reason, detail: "d").reason == (reason == .deadline ? .deadline : .protocolViolation))
}

// MARK: callbacks that no stream waits for

private func status(_ callback: UInt16, started: UInt64 = 0, callbacks: UInt64 = 0) -> WorkerStatus {
  var page = [UInt8](repeating: 0, count: WorkerStatus.byteCount)
  page.withUnsafeMutableBytes { raw in
    raw.storeBytes(of: callback, toByteOffset: BH_STATUS_CALLBACK, as: UInt16.self)
    raw.storeBytes(of: started, toByteOffset: BH_STATUS_STARTED_NS, as: UInt64.self)
    raw.storeBytes(of: callbacks, toByteOffset: BH_STATUS_CALLBACKS, as: UInt64.self)
  }
  return page.withUnsafeBytes { raw in WorkerStatus(page: raw.baseAddress ?? UnsafeRawPointer(bitPattern: 8)!) }
}

@Test func aTickThatRunsOnIsTimedBothByItsOwnWordAndByWhatWasSeen() {
  var watch = CallbackWatch()
  // Its word: it began 30 ms ago.
  let first = watch.look(status(6, started: 970_000_000), now: .seconds(1))
  #expect(first?.for == .milliseconds(30))
  // It moves its start along; what was seen stands.
  let second = watch.look(status(6, started: 1_190_000_000), now: .milliseconds(1_200))
  #expect(second?.kind == .tick)
  #expect(second?.for == .milliseconds(200))
}

@Test(arguments: [UInt64.max, 2_000_000_000, 0])
func aStartThatCannotBeSaysNothing(started: UInt64) {
  var watch = CallbackWatch()
  let look = watch.look(status(6, started: started), now: .seconds(1))
  #expect(look?.for == .zero)
}

@Test func twoShortTicksAreNotOneLongOne() {
  var watch = CallbackWatch()
  let looks = [
    watch.look(status(6, callbacks: 1), now: .seconds(1)), watch.look(status(6, callbacks: 2), now: .seconds(2)),
    watch.look(status(0, callbacks: 3), now: .seconds(3)), watch.look(status(6, callbacks: 3), now: .seconds(4)),
  ]
  #expect(looks.map { $0?.for } == [.zero, .zero, nil, .zero])
}

@Test(arguments: [UInt16(0), 3, 4, 5, 7, 65_535])
func otherCallbacksAreNotTheSupervisorsToWatch(callback: UInt16) {
  var watch = CallbackWatch()
  let look = watch.look(status(callback), now: .seconds(1))
  #expect(look == nil)
}

@Test func anUnknownCallbackIsShownAsItsNumber() {
  let current = status(999, started: 500_000_000).currentCallback(at: .seconds(1))
  #expect(current?.name == "unknown (999)")
  #expect(current?.milliseconds == 500)
  #expect(status(6, started: .max).currentCallback(at: .seconds(1))?.milliseconds == 0)
  #expect(status(0).currentCallback(at: .seconds(1)) == nil)
}

/// A callback that began at 500 ms, was found at fault at 700 ms, and whose worker ended at 900 ms.
@Test(arguments: [
  (UInt16(3), UInt64(500_000_000), ExitReason.trap, Duration.milliseconds(200)),
  (3, 500_000_000, .deadline, .milliseconds(400)),
  (0, 500_000_000, .signal, .zero), (3, 800_000_000, .trap, .zero), (3, 0, .trap, .milliseconds(600)),
  (3, .max, .deadline, .zero),
])
func whatACallbackWastedIsBoundedWhateverTheWorkerSays(
  _ callback: UInt16, _ started: UInt64, _ reason: ExitReason, _ wasted: Duration
) {
  let time = ExitAnalysis.wasted(
    status(callback, started: started), foundAt: .milliseconds(700), endedAt: .milliseconds(900), reason,
    longest: .milliseconds(600))
  #expect(time == wasted)
}

@Test func aWorkerWithoutAStatusPageWastedNothingThatIsKnown() {
  #expect(ExitAnalysis.wasted(nil, foundAt: .zero, endedAt: .seconds(1), .signal, longest: .seconds(1)) == .zero)
}
