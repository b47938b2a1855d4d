import BulkheadCore
import BulkheadWire
import NIOConcurrencyHelpers

/// What the workers of a front share: data and queues by vm_id, and metrics by plugin. It outlives every worker.
///
/// Any event loop. Each vm_id has a lock of its own, held for a look-up and never while bytes are copied to or from a
/// ring.
final class SharedState: Sendable {
  private let stores: [NIOLockedValueBox<SharedStore>]
  /// By the plugin's place in the chain: the store of its vm_id, or its own.
  private let storeOfPlugin: [Int]
  /// Of vm_ids that were given: nobody else's own store can be named.
  private let storeOfVM: [[UInt8]: Int]
  /// Whether a store is of a vm_id, and so reached by tokens from others.
  private let isNamed: [Bool]
  /// By the plugin's place in the chain: the tokens of other vm_ids' queues that it has resolved.
  private let resolved: [NIOLockedValueBox<Set<UInt32>>]
  /// By the plugin's place in the chain.
  let metrics: [PluginMetrics]
  let helper = HelperThread()

  init(_ bootstrap: FrontBootstrap) {
    // Whatever is stored can be read: an answer fits half of its ring, wherever that stands.
    let maximumValue = max(Int(bootstrap.ring.answers) / 2 - 64, 0)
    var storeOfVM: [[UInt8]: Int] = [:]
    var storeOfPlugin: [Int] = []
    var isNamed: [Bool] = []
    for plugin in bootstrap.plugins {
      let id = Array(plugin.vmID.utf8)
      if !id.isEmpty, let store = storeOfVM[id] {
        storeOfPlugin.append(store)
        continue
      }
      if !id.isEmpty { storeOfVM[id] = isNamed.count }
      storeOfPlugin.append(isNamed.count)
      isNamed.append(!id.isEmpty)
    }
    self.storeOfVM = storeOfVM
    self.storeOfPlugin = storeOfPlugin
    self.isNamed = isNamed
    resolved = bootstrap.plugins.map { _ in NIOLockedValueBox([]) }
    stores = isNamed.map { _ in NIOLockedValueBox(SharedStore(bootstrap.bounds, maximumValue: maximumValue)) }
    metrics = bootstrap.plugins.map { PluginMetrics(name: $0.name, maximum: bootstrap.bounds.metrics) }
  }

  /// What a hostcall gives: the number of the answer (a cas, a token) or why there is none.
  typealias Outcome<Value> = Result<Value, SharedStore.Refusal>

  private func store(of plugin: Int) -> NIOLockedValueBox<SharedStore>? {
    storeOfPlugin.indices.contains(plugin) ? stores[storeOfPlugin[plugin]] : nil
  }

  private static func run<Value>(
    _ box: NIOLockedValueBox<SharedStore>?, _ body: (inout SharedStore) throws(SharedStore.Refusal) -> Value
  ) -> Outcome<Value> {
    guard let box else { return .failure(.status(.notFound)) }
    return box.withLockedValue { store in
      do throws(SharedStore.Refusal) { return .success(try body(&store)) } catch { return .failure(error) }
    }
  }

  // MARK: Shared data

  func set(_ key: [UInt8], _ value: [UInt8], cas: UInt64, plugin: Int) -> Outcome<Void> {
    let old = Self.run(store(of: plugin)) { (store) throws(SharedStore.Refusal) in
      try store.set(key, value, cas: cas)
    }
    return old.map { _ in () }
  }

  func get(_ key: [UInt8], plugin: Int) -> (value: [UInt8], cas: UInt32)? {
    store(of: plugin)?.withLockedValue { $0.get(key) }
  }

  // MARK: Queues

  /// A token names the store and the queue in it; 0 is none.
  private func token(store: Int, queue: Int) -> UInt32? {
    let (product, overflows) = UInt32(truncatingIfNeeded: queue).multipliedReportingOverflow(
      by: UInt32(truncatingIfNeeded: stores.count))
    guard !overflows, queue <= Int(UInt32.max) else { return nil }
    let (sum, overflowsToo) = product.addingReportingOverflow(UInt32(truncatingIfNeeded: store) &+ 1)
    return overflowsToo ? nil : sum
  }

  /// The store and the queue of a token that the plugin may use: of its own vm_id, or one that it has resolved, since
  /// tokens are small numbers that anybody could guess.
  private func place(_ token: UInt64, plugin: Int) -> (store: Int, queue: Int)? {
    guard token > 0, token <= UInt64(UInt32.max), !stores.isEmpty else { return nil }
    let number = Int(token) - 1
    let store = number % stores.count
    guard storeOfPlugin.indices.contains(plugin) else { return nil }
    if storeOfPlugin[plugin] != store {
      guard isNamed[store], let token = UInt32(exactly: token), resolved[plugin].withLockedValue({ $0.contains(token) })
      else { return nil }
    }
    return (store, number / stores.count)
  }

  func register(_ name: [UInt8], plugin: Int) -> Outcome<UInt32> {
    let queue = Self.run(store(of: plugin)) { (store) throws(SharedStore.Refusal) in
      try store.register(name, plugin: plugin)
    }
    return queue.flatMap { queue in
      guard let token = token(store: storeOfPlugin[plugin], queue: queue) else {
        return .failure(.status(.internalFailure))
      }
      return .success(token)
    }
  }

  /// - Parameter vm: empty for the plugin's own.
  func resolve(vm: [UInt8], _ name: [UInt8], plugin: Int) -> UInt32? {
    guard storeOfPlugin.indices.contains(plugin) else { return nil }
    guard let store = vm.isEmpty ? storeOfPlugin[plugin] : storeOfVM[vm] else { return nil }
    let queue = stores[store].withLockedValue { $0.resolve(name) }
    guard let token = queue.flatMap({ token(store: store, queue: $0) }) else { return nil }
    // No more than there are queues, which are bounded.
    if store != storeOfPlugin[plugin] { resolved[plugin].withLockedValue { _ = $0.insert(token) } }
    return token
  }

  /// - Returns: the plugin that is to be told.
  func enqueue(_ token: UInt64, _ message: [UInt8], plugin: Int) -> Outcome<Int> {
    guard let place = place(token, plugin: plugin) else { return .failure(.status(.notFound)) }
    let isForeign = place.store != storeOfPlugin[plugin]
    return Self.run(stores[place.store]) { (store) throws(SharedStore.Refusal) in
      try store.enqueue(place.queue, message, isForeign: isForeign)
    }
  }

  func dequeue(_ token: UInt64, plugin: Int) -> Outcome<[UInt8]> {
    // Messages are for the plugins of the queue's vm_id.
    guard let place = place(token, plugin: plugin), place.store == storeOfPlugin[plugin] else {
      return .failure(.status(.notFound))
    }
    return Self.run(stores[place.store]) { (store) throws(SharedStore.Refusal) in try store.dequeue(place.queue) }
  }

  // MARK: Notifications

  /// The tokens of the plugin's queues with messages of which the worker is still to be told.
  func owing(plugin: Int, worker: UInt64) -> [UInt32] {
    guard let box = store(of: plugin) else { return [] }
    let queues = box.withLockedValue { $0.owing(plugin: plugin, worker: worker) }
    return queues.compactMap { token(store: storeOfPlugin[plugin], queue: $0) }
  }

  /// How many notifications of that queue are to be sent to the worker now; they count as sent.
  func takeOwed(_ token: UInt32, plugin: Int, worker: UInt64, most: Int) -> Int {
    guard let place = place(UInt64(token), plugin: plugin) else { return 0 }
    return stores[place.store].withLockedValue {
      $0.takeOwed(place.queue, plugin: plugin, worker: worker, most: most)
    }
  }

  /// A worker of the plugin is lost, with all that it was told.
  func workerLost(_ worker: UInt64, plugin: Int) {
    store(of: plugin)?.withLockedValue { $0.workerLost(worker) }
  }
}
