import BulkheadCore
import BulkheadSystem
import BulkheadWire
import NIOCore

// Admission to workers, and what happens when they fail.
extension TCPStream {
  func waitsForAdmission(_ place: Int, _ part: AdmissionQueue.Part) -> Bool {
    phase == .open && (index(of: place).map { stages[$0].waits } ?? false)
  }

  func admitted(_ place: Int, _ part: AdmissionQueue.Part) {
    guard waitsForAdmission(place, part), let index = index(of: place) else { return }
    stages[index].waits = false
    pump()
  }

  func admissionFailed(_ place: Int, _ why: String, _ fault: PluginFault) {
    guard waitsForAdmission(place, .headers), let index = index(of: place) else { return }
    stages[index].waits = false
    fail(index, why, fault)
    pump()
  }

  func workerLost(
    _ place: Int, link: WorkerLink, kind: CallbackKind, sequence: UInt64, fate: ChannelLedger.Fate, why: String
  ) {
    guard phase == .open, let index = index(of: place), stages[index].link === link else { return }
    let stage = stages[index]
    let isAwaited = stage[.downstream].sequence == sequence || stage[.upstream].sequence == sequence
    guard stage.meeting == .open, isAwaited else { return }
    if !stage.hasState, stage.redispatches.allows(fate, of: link.host, &waits) {
      if stage.held > 0 { link.letGo(stage.held) }
      stage.held = 0
      stage.link = nil
      stage.meeting = .unseen
      stage.upstreamCloseIsSaid = false
      if stage.opening == .calling { stage.opening = .toBeCalled }
      stage[.downstream].takeBack()
      stage[.upstream].takeBack()
    } else {
      fail(index, why)
    }
    pump()
  }

  func workerLostWhilePaused(_ link: WorkerLink, why: String) {
    guard phase == .open else { return }
    for (index, stage) in stages.enumerated() where stage.link === link && stage.meeting == .open {
      guard stage.opening == .paused || stage[.downstream].isPaused || stage[.upstream].isPaused else { continue }
      fail(index, why)
      guard phase == .open else { return }
    }
    pump()
  }

  func vmLost(_ link: WorkerLink, why: String) {
    guard phase == .open else { return }
    for (index, stage) in stages.enumerated() where stage.link === link {
      if stage.held > 0 { link.letGo(stage.held) }
      stage.held = 0
      stage.link = nil
      guard stage.meeting == .open else { continue }
      let waits =
        stage.opening == .calling || stage.opening == .paused || stage[.downstream].sequence != 0
        || stage[.upstream].sequence != 0 || stage[.downstream].isPaused || stage[.upstream].isPaused
      if waits { fail(index, why) }
      guard phase == .open else { return }
    }
    pump()
  }

  func forget(_ link: WorkerLink) {
    for stage in stages where stage.link === link { stage.link = nil }
  }

  /// Applies what holds for a fault of the plugin at `index`: its fail strategy, or what its policy says of overload.
  func fail(_ index: Int, _ why: String, _ fault: PluginFault = .failure) {
    let stage = stages[index]
    let host = chain.hosts[stage.place]
    stage.meeting = .dead
    host.count(fault)
    stage.waits = false
    let isLost = stage[.downstream].originalIsLost || stage[.upstream].originalIsLost
    if let suppressed = host.failureLines.admit(now: Clock.monotonicNanoseconds) {
      loop.log.write(
        .warn, request: label,
        host.line(fault, of: "connection", why)
          + (isLost
            ? "; it is closed, since the plugin took apart more than bufferLimit (\(stage.bufferBytes) bytes)" : "")
          + FrontLog.note(suppressed: suppressed))
    }
    guard host.goesOn(after: fault), !isLost else {
      flags |= ResponseFlags.localReset
      details = fault == .overload ? "plugin_overloaded" : "plugin_unavailable"
      concerned = stage.place
      finish(.byUs)
      return
    }
    // As if the plugin were not there: what it was shown or holds goes on as it came.
    for direction in [TCPDirection.downstream, .upstream] {
      let (bytes, end) = stage[direction].takeAll()
      pass(bytes, end: end, from: index, direction)
      guard phase == .open else { return }
    }
    if [.toBeCalled, .calling, .paused].contains(stage.opening) { stage.opening = .toBeCalled }
    pumpAgain = true
  }
}
