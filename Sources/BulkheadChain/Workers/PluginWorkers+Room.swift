import BulkheadCore

// Making room where there is none for a stream: the plugin has not failed.
extension PluginWorkers {
  /// How many streams are ended at once before the loop looks after others again.
  private static let shedAtOnce = 32

  /// A stream that is about to wait found no such room. Who dawdles makes it, as soon as the loop has done what it does: so
  /// nothing changes under the stream that asks.
  func wantRoom(_ wanted: WantedRoom.Room) {
    if room.want(wanted, now: engine.now) { engine.driver.execute { [self] in makeRoom() } }
  }

  /// The loop looks after those who wait: there may be room, or it can be made.
  func lookForRoom() {
    if room.isEmpty { roomWasMade() } else { makeRoom() }
  }

  /// Ends streams that dawdle, the one that has waited for its client longest first, until nobody waits for their room.
  private func makeRoom() {
    guard room.begin() else { return }
    defer { room.end() }
    for _ in 0..<Self.shedAtOnce {
      let since = room.beginRound()
      roomWasMade()
      guard room.isStillWanted(since: since) else { return }
      let now = engine.now
      guard let (stream, waited) = dawdler(now: now) else {
        // The timer of those who wait looks again.
        return room.rests(until: now &+ Self.lookAgain / 2)
      }
      counters.shed &+= 1
      stream.shed(for: self, after: waited / 1_000_000)
    }
  }

  /// Who has waited for its client longest of the streams that have room which is wanted.
  private func dawdler(now: UInt64) -> (FilterStream, waited: UInt64)? {
    // A client that sends as fast as it can is waited for too, for moments: it is not ended for a stream that can wait.
    let least = room.least(of: min(ChainLimits.dawdling, settings.waitForRoom / 2), now: now)
    let waits = settings.callbacks.isDisjoint(with: .network) ? engine.clientWaits : engine.connectionWaits
    var next = waits.first
    while let slot = next {
      let since = waits.since(slot)
      let waited = now > since ? now &- since : 0
      guard waited >= least else { return nil }
      if let stream = engine.stream(slot: slot), stream.dawdles, let holder = stream.holder(of: self),
        room.isOfUse(in: holder.worker, isServing: workers.serving.contains { $0 === holder })
      {
        return (stream, waited)
      }
      next = waits.next(after: slot)
    }
    return nil
  }
}
