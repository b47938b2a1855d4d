import BulkheadSystem

/// A plugin as what is shared knows it: all workers, and all revisions that have its name and vm_id, are one. Any thread.
public final class SharedPlugin: Sendable {
  /// Never used for another one; it names the plugin in queues and in the shares of calls out.
  public let number: Int
  let name: String
  let vm: SharedVM
  /// The metrics that it has defined; another revision of the plugin finds them as they are.
  public let metrics: PluginMetrics
  /// The tokens of other vm_ids' queues that it has resolved: no more than there are queues, which are bounded.
  let resolved = Locked<Set<UInt32>>([])

  init(number: Int, name: String, vm: SharedVM, metrics: PluginMetrics) {
    self.number = number
    self.name = name
    self.vm = vm
    self.metrics = metrics
  }
}

/// The data and queues of one vm_id, or of one plugin that has none. It is gone with its last plugin.
final class SharedVM: Sendable {
  /// Whether it is of a vm_id, and so reached by tokens from others.
  let isNamed: Bool
  /// The tokens of its queues: this one and as many as there may be queues. No other store ever has them.
  let firstToken: UInt32
  let tokens: UInt32
  let store: Locked<SharedStore>

  init(isNamed: Bool, firstToken: UInt32, tokens: UInt32, store: SharedStore) {
    self.isNamed = isNamed
    self.firstToken = firstToken
    self.tokens = tokens
    self.store = Locked(store)
  }

  /// 0 is no token.
  func token(queue: Int) -> UInt32? {
    guard queue >= 0, queue < Int(tokens) else { return nil }
    return firstToken &+ UInt32(truncatingIfNeeded: queue)
  }

  func queue(_ token: UInt64) -> Int? {
    guard token >= UInt64(firstToken), token - UInt64(firstToken) < UInt64(tokens) else { return nil }
    return Int(token - UInt64(firstToken))
  }
}
