import BulkheadCore

// Streams that wait for a worker, or for room in one.
extension PluginWorkers {
  /// How often the waiting are looked after where nothing else does: ns.
  static let lookAgain: UInt64 = 10_000_000

  /// Lets the stream, which has the plugin at `place`, wait.
  ///
  /// - Parameter otherwise: why it fails where too many wait already.
  /// - Returns: why it fails at once; nil where it waits.
  func wait(
    _ stream: FilterStream, at place: Int, _ part: AdmissionQueue.Part, for need: AdmissionQueue.Need,
    _ otherwise: String
  ) -> (why: String, fault: PluginFault)? {
    let now = engine.now
    // Where there is a worker, it has only no room. Suspects get no further than their lane, whatever the strategy.
    let wait = workers.first == nil && need != .lane ? waitForWorker : settings.waitForRoom
    let limit = need.isOfNew ? stream.waits.left(of: wait) : wait
    let waiter = AdmissionQueue.Waiter(
      stream: stream.streamID, place: place, part: part, until: now &+ limit, since: now, limit: limit)
    var until = waiter.until
    if let before = admission.comesBack(waiter, for: need) {
      until = before
    } else {
      guard !admission.isFull(for: need) else {
        if need == .lane, admission.queue.count < ChainLimits.maximumWaiters { refused(stream) }
        return (otherwise, .overload)
      }
      if need == .worker, let why = whyInVain(waiter, now: now) { return (why, .failure) }
      admission.join(waiter, for: need)
    }
    if !admission.isWatched {
      admission.isWatched = true
      engine.waitingPlugins.append(self)
    }
    engine.arm(for: min(until, now &+ Self.lookAgain), now: now)
    return nil
  }

  /// Why no worker can be ready for it in time; nil where one may.
  private func whyInVain(_ waiter: AdmissionQueue.Waiter, now: UInt64) -> String? {
    guard workers.first == nil else { return nil }
    return starts.whyInVain(until: waiter.until, limit: waiter.limit, starting: workers.startingSince, now: now)
  }

  /// The supervisor says when the next worker is started: who would wait in vain is told at once.
  public func setNextStart(_ due: UInt64) {
    starts.nextStart = due
    guard admission.hasWaiters else { return }
    let now = engine.now
    admission.beginRound()
    // The first one of the line is the first one whose time is over.
    while let waiter = admission.next(for: .worker) {
      guard let why = whyInVain(waiter, now: now) else { return admission.putBack(waiter, for: .worker) }
      fail(waiter, for: .worker, why, .failure)
    }
  }

  /// Nobody comes: whoever waits for a worker is told at once.
  func failThoseWithoutWorker() {
    failAll(for: .worker, "it is quarantined after repeated crashes", .failure)
  }

  func failAll(for need: AdmissionQueue.Need, _ why: String, _ fault: PluginFault) {
    admission.beginRound()
    while let waiter = admission.next(for: need) { fail(waiter, for: need, why, fault) }
  }

  /// Whether the stream tries again just now.
  func isTried(_ stream: FilterStream) -> Bool { admission.isTried(stream.streamID) }

  /// Counts what the stream has waited for a worker.
  private func count(_ waiter: AdmissionQueue.Waiter, _ need: AdmissionQueue.Need, _ stream: FilterStream) {
    if need.isOfNew { stream.waits.spend(from: waiter.since, to: engine.now) }
  }

  /// The waiter's stream, where it still waits.
  private func stream(of waiter: AdmissionQueue.Waiter) -> FilterStream? {
    guard let stream = engine.stream(waiter.stream), stream.waitsForAdmission(waiter.place, waiter.part) else {
      return nil
    }
    return stream
  }

  private func fail(
    _ waiter: AdmissionQueue.Waiter, for need: AdmissionQueue.Need, _ why: String, _ fault: PluginFault
  ) {
    guard let stream = stream(of: waiter) else { return }
    count(waiter, need, stream)
    if need == .lane { refused(stream) }
    stream.admissionFailed(waiter.place, why, fault)
  }

  /// The worker has dealt with records: those that waited for room on its ring may go on.
  @inline(__always)
  func roomWasMade() {
    if admission.hasWaiters { admitWaiters() }
  }

  func admitWaiters() {
    // Only those that wait now: one whose callback fails at once may come to wait again.
    var left = admission.queue.count
    admission.beginRound()
    while left > 0 {
      left -= 1
      let (takesNew, laneTakes) = (takesNew, laneTakes)
      guard let attempt = admission.next(takesNew: takesNew, laneTakes: laneTakes) else { return }
      guard let stream = stream(of: attempt.waiter) else { continue }
      // What it does may lead back here.
      let outer = admission.begins(attempt)
      count(attempt.waiter, attempt.need, stream)
      stream.admitted(attempt.waiter.place, attempt.waiter.part)
      admission.ends(outer)
    }
  }

  /// A stream that is new to the plugin does not take the room that those wait for which a worker has already.
  private var takesNew: Bool { workers.serving.contains { !admission.queue.isBlocked(.ring($0.worker)) } }

  /// Fails the streams that have waited long enough.
  ///
  /// - Returns: when to look again, `UInt64.max` for not at all.
  func checkWaiters(now: UInt64) -> UInt64 {
    while let attempt = admission.expired(now: now) {
      // Where a worker was there, and had no room, that is no failure.
      let isFailure = attempt.need == .worker && workers.first == nil
      fail(attempt.waiter, for: attempt.need, whyExpired(attempt), isFailure ? .failure : .overload)
    }
    if !admission.hasWaiters { room.forget() }
    return admission.queue.nextUntil
  }

  private func whyExpired(_ attempt: Admission.Attempt) -> String {
    let limit = StartTimes.milliseconds(attempt.waiter.limit)
    return switch attempt.need {
    case .worker where workers.first == nil: "no worker became ready within \(limit)"
    case .worker: "none of its workers had room for one more stream within \(limit)"
    case .lane:
      "it looks like a request that the plugin died of, and the lane for suspects took it not within \(limit)"
    case .ring: "its worker's ring had no room within \(limit)"
    case .body: "its worker kept as much of bodies as it may for \(limit)"
    }
  }
}
