/// How long a callback that its lost worker had not begun may go on to another one.
///
/// No number of lost workers makes it fail by itself: it has harmed none of them. It ends with what is left of the stream's
/// waits, as any wait for a worker does; two others get it in any case, so that where nothing may wait a standby still takes
/// over.
struct Redispatches {
  private var count = 0
  /// When the first worker was lost: CLOCK_MONOTONIC, ns, as the next.
  private var since: UInt64 = 0
  private var until: UInt64 = 0

  /// Counts one more lost worker.
  ///
  /// - Parameters:
  ///   - fate: of the callback.
  ///   - wait: how long it may take from the first lost worker on, ns.
  /// - Returns: whether another worker may have the callback.
  mutating func allows(
    _ fate: ChannelLedger.Fate, within wait: UInt64, now: UInt64
  ) -> Bool {
    guard fate == .redispatch else { return false }
    if count == 0 {
      since = now
      until = now &+ wait
    }
    count &+= 1
    return count <= 2 || now < until
  }

  /// Asks whether a worker of the plugin may have the callback that another one has lost, and counts it if so.
  ///
  /// - Parameter waits: of the stream.
  mutating func allows(_ fate: ChannelLedger.Fate, of plugin: PluginWorkers, _ waits: inout WaitAllowance)
    -> Bool
  {
    // Nothing was lost: however often that happens, it harms nobody.
    if fate == .moved { return true }
    guard allows(fate, within: waits.left(of: plugin.waitForWorker), now: plugin.engine.now) else { return false }
    plugin.counters.redispatched &+= 1
    return true
  }

  /// The callback was answered, or failed: the time that it took to find a worker is spent.
  mutating func end(_ waits: inout WaitAllowance, now: @autoclosure () -> UInt64) {
    guard count > 0 else { return }
    waits.spend(from: since, to: now())
    self = Redispatches()
  }
}
