import BulkheadCore

// What holds where there is no room for a stream: the plugin has not failed.
extension PluginWorkers {
  /// Room among what workers keep of open streams that a stream has not found.
  public enum Room {
    /// For a stream that is new to the plugin, in any worker that takes such streams.
    case ofStreams
    /// For the body of a stream that this worker has.
    case ofBodies(WorkerLink)

    public static func == (left: Room, right: Room) -> Bool {
      switch (left, right) {
      case (.ofStreams, .ofStreams): true
      case (.ofBodies(let left), .ofBodies(let right)): left === right
      default: false
      }
    }
  }

  /// How far the making of room is.
  public enum RoomMaking: Sendable {
    case idle
    /// It begins once the loop has done what it does.
    case scheduled
    case running
  }

  /// How many streams are ended at once before the loop looks after others again.
  private static let shedAtOnce = 32

  // MARK: What a stream sees

  /// Whether a stream goes on without the plugin after that.
  public func goesOn(after fault: PluginFault) -> Bool {
    switch fault {
    case .failure: strategy == .failOpen
    case .overload: settings.overload == .open
    }
  }

  public func count(_ fault: PluginFault) {
    switch fault {
    case .failure: counters.failures &+= 1
    case .overload: counters.overloads &+= 1
    }
  }

  /// The line of the log about a fault.
  public func line(_ fault: PluginFault, of what: String, _ why: String) -> String {
    switch fault {
    case .failure: "plugin \(settings.name) failed the \(what) (\(strategy.rawValue)): \(why)"
    case .overload:
      "plugin \(settings.name) was not asked about the \(what): overload (\(settings.overload.rawValue)): \(why)"
    }
  }

  // MARK: Making room

  /// A stream that is about to wait found no such room. Who dawdles makes it, as soon as the loop has done what it does: so
  /// nothing changes under the stream that asks.
  func wantRoom(_ room: Room) {
    let now = engine.now
    if wantedRoom.isEmpty { roomIsWantedSince = now }
    if !wantedRoom.contains(where: { $0 == room }) { wantedRoom.append(room) }
    guard case .idle = roomMaking, now >= nextRoomMaking else { return }
    roomMaking = .scheduled
    engine.driver.execute { [self] in makeRoom() }
  }

  /// The loop looks after those who wait: there may be room, or it can be made.
  func lookForRoom() {
    if wantedRoom.isEmpty { roomWasMade() } else { makeRoom() }
  }

  /// Ends streams that dawdle, the one that has waited for its client longest first, until nobody waits for their room.
  private func makeRoom() {
    if case .running = roomMaking { return }
    roomMaking = .running
    defer { roomMaking = .idle }
    for _ in 0..<Self.shedAtOnce {
      // Who still finds none says so again.
      wantedRoom.removeAll(keepingCapacity: true)
      let since = roomIsWantedSince
      roomWasMade()
      guard !wantedRoom.isEmpty else { return }
      roomIsWantedSince = since
      let now = engine.now
      guard let (stream, waited) = dawdler(now: now) else {
        // The timer of those who wait looks again.
        nextRoomMaking = now &+ Self.lookAgain / 2
        return
      }
      counters.shed &+= 1
      stream.shed(for: self, after: waited / 1_000_000)
    }
  }

  /// Who has waited for its client longest of the streams that have room which is wanted.
  private func dawdler(now: UInt64) -> (FilterStream, waited: UInt64)? {
    // A client that sends as fast as it can is waited for too, for moments: it is not ended for a stream that can wait.
    let patience = min(ChainLimits.dawdling, settings.waitForRoom / 2)
    let wanted = now > roomIsWantedSince ? now &- roomIsWantedSince : 0
    let least = patience > wanted ? patience &- wanted : 0
    let waits = settings.callbacks.isDisjoint(with: .network) ? engine.clientWaits : engine.connectionWaits
    var next = waits.first
    while let slot = next {
      let since = waits.since(slot)
      let waited = now > since ? now &- since : 0
      guard waited >= least else { return nil }
      if let stream = engine.stream(slot: slot), stream.dawdles, let holder = stream.holder(of: self), isWanted(holder)
      {
        return (stream, waited)
      }
      next = waits.next(after: slot)
    }
    return nil
  }

  /// Whether room in that worker is of use.
  private func isWanted(_ holder: WorkerLink) -> Bool {
    wantedRoom.contains { room in
      switch room {
      case .ofStreams: serving.contains { $0 === holder }
      case .ofBodies(let link): link === holder
      }
    }
  }
}
