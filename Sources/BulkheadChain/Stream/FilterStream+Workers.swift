import BulkheadCore
import BulkheadWire

// What the workers' side says: room, and losses. All of it is noted; what follows is for the pump.
extension FilterStream {
  /// Whether it waits for its own client, and for nobody else.
  var dawdles: Bool { sink?.dawdles ?? false }

  /// It dawdles, and a stream that does not needs the room that it has in a worker of that plugin: it ends.
  ///
  /// - Parameter milliseconds: for how long it has waited for its client.
  func shed(for plugin: PluginWorkers, after milliseconds: UInt64) {
    sink?.shed(for: plugin, after: milliseconds)
  }

  /// The place in its chain of the plugin that has it by that worker; nil where none has.
  public func place(of link: WorkerLink) -> Int? {
    guard let place = chain.place(of: link.plugin), place < visits.count, visits[place].link === link else {
      return nil
    }
    return place
  }

  /// The worker of that plugin which keeps something of it; nil where none does.
  func holder(of plugin: PluginWorkers) -> WorkerLink? {
    guard let place = chain.place(of: plugin), place < visits.count, visits[place].held > 0 else { return nil }
    return visits[place].link
  }

  // MARK: Admission

  /// Whether that part of it waits for a worker of the plugin at that place, or for room there.
  func waitsForAdmission(_ place: Int, _ part: AdmissionQueue.Part) -> Bool {
    guard isOpen else { return false }
    switch part {
    case .headers:
      return request.waitsForAdmission(place, isHead: true)
        || response.waitsForAdmission(place, isHead: true)
    case .requestBody: return request.waitsForAdmission(place, isHead: false)
    case .responseBody: return response.waitsForAdmission(place, isHead: false)
    }
  }

  /// There may be a worker, or room: the callback is tried now, so that the plugin knows at once who waits on.
  func admitted(_ place: Int, _ part: AdmissionQueue.Part) {
    guard waitsForAdmission(place, part) else { return }
    switch part {
    case .headers:
      let direction: Direction = request.waitsForAdmission(place, isHead: true) ? .request : .response
      self[direction].head = .at(place, .turn)
      callHead(direction, place)
    case .requestBody: callStage(.request, place)
    case .responseBody: callStage(.response, place)
    }
    note()
  }

  private func callStage(_ direction: Direction, _ place: Int) {
    guard let stage = self[direction].stage(of: place) else { return }
    self[direction].stages[stage].awaiting = .nothing
    let hasTrailers = self[direction].hasTrailers
    if let work = self[direction].stages[stage].work(hasTrailers: hasTrailers) { callStage(direction, stage, work) }
  }

  /// No worker came in time, or none will, or there was no room in time.
  func admissionFailed(_ place: Int, _ why: String, _ fault: PluginFault) {
    guard isOpen else { return }
    var waited = false
    for direction in Self.directions {
      if self[direction].waitsForAdmission(place, isHead: true) {
        self[direction].head = .at(place, .turn)
        waited = true
      }
      if let stage = self[direction].stage(of: place), self[direction].waitsForAdmission(place, isHead: false) {
        self[direction].stages[stage].awaiting = .nothing
        waited = true
      }
    }
    guard waited else { return }
    noteFault(place, why, fault)
    note()
  }

  // MARK: Losses

  /// The worker of the plugin at that place is lost while this callback of the stream was outstanding there.
  func workerLost(
    _ place: Int, link: WorkerLink, kind: CallbackKind, sequence: UInt64, fate: ChannelLedger.Fate, why: String
  ) {
    guard isOpen, place < visits.count, let (direction, isHead) = kind.part,
      awaits(place, link, direction, isHead: isHead, sequence)
    else { return }
    // Of two callbacks that it had there the first one has taken the stream elsewhere: one lost worker counts once.
    let hasLeft = visits[place].link !== link || visits[place].firstSequence > sequence
    if mayGoElsewhere(place, link, hasLeft && fate == .redispatch ? .moved : fate) {
      if isHead {
        self[direction].head = .at(place, .turn)
      } else if let stage = self[direction].stage(of: place) {
        self[direction].stages[stage].awaiting = .nothing
        self[direction].stages[stage].takeBack()
      }
      // Another callback of the stream may have met a worker again by now, and be it the same one.
      if !visits[place].hasState, !hasLeft {
        update(place) { $0.unmeet() }
      } else if kind.isFromUpstream {
        update(place) { $0.sawResponse = false }
      }
    } else {
      noteFault(place, why)
    }
    note()
  }

  private func awaits(
    _ place: Int, _ link: WorkerLink, _ direction: Direction, isHead: Bool, _ sequence: UInt64
  ) -> Bool {
    if isHead {
      guard case .at(place, .callback(link.worker, sequence)) = self[direction].head else { return false }
      return true
    }
    guard let stage = self[direction].stage(of: place),
      case .callback(link.worker, sequence) = self[direction].stages[stage].awaiting
    else { return false }
    return true
  }

  private func mayGoElsewhere(_ place: Int, _ link: WorkerLink, _ fate: ChannelLedger.Fate) -> Bool {
    // One that has met the worker meanwhile comes back to it where that lives.
    guard fate == .moved || !visits[place].hasState else { return false }
    return update(place) { $0.redispatches.allows(fate, of: link.plugin, &waits) }
  }

  /// The worker is lost: what it had paused is not resumed by anybody.
  func workerLostWhilePaused(_ link: WorkerLink, why: String) {
    guard isOpen, let place = place(of: link), visits[place].meeting == .open,
      request.isPaused(by: place) || response.isPaused(by: place)
    else { return }
    noteFault(place, why)
    note()
  }

  /// The VM that had the stream has ended, and its worker goes on with a fresh one: what the stream waits for there fails
  /// now, what it would ask it next fails then.
  func vmLost(_ link: WorkerLink, why: String) {
    guard isOpen, let place = place(of: link) else { return }
    update(place) { $0.leave() }
    guard visits[place].meeting == .open else { return }
    let isHeld = Self.directions.contains { direction in
      if self[direction].isPaused(by: place) { return true }
      if case .at(place, .callback(link.worker, _)) = self[direction].head { return true }
      guard let stage = self[direction].stage(of: place) else { return false }
      if case .callback(link.worker, _) = self[direction].stages[stage].awaiting { return true }
      return false
    }
    guard isHeld else { return }
    noteFault(place, why)
    note()
  }

  /// The worker is dead and settled: a stream that has met it keeps only the fact.
  func forget(_ link: WorkerLink) {
    if let place = place(of: link) { update(place) { $0.forgetWorker() } }
  }
}
