import BulkheadCore
import BulkheadSystem
import BulkheadWire

/// What the workers of a front share: data and queues by vm_id, and metrics by plugin. It outlives every worker, and every
/// generation of the chain that has the plugin, or the vm_id.
///
/// Any event loop. Each vm_id has a lock of its own, held for a look-up and never while bytes are copied to or from a
/// ring.
public final class SharedState: Sendable {
  private let bounds: Bounds
  private let maximumValue: Int
  private let registry = Locked(Registry())

  /// Who is there: held by the chains that have them.
  private struct Registry {
    struct Key: Hashable {
      var name: String
      var vmID: String
    }
    struct Weak<Object: AnyObject & Sendable>: Sendable {
      weak var object: Object?
    }

    var plugins: [Key: Weak<SharedPlugin>] = [:]
    var nextPlugin = 0
    /// Of vm_ids that were given: nobody else's own store can be named.
    var vms: [[UInt8]: Weak<SharedVM>] = [:]
    /// Of those, in the order of their tokens, with the first of each.
    var byToken: [(first: UInt32, vm: Weak<SharedVM>)] = []
    /// By plugin name.
    var metrics: [String: Weak<PluginMetrics>] = [:]
    /// The first token that no store has had; tokens are never used again.
    var nextToken: UInt32 = 1
  }

  /// All numbers of queues were given away.
  struct NoTokensLeft: Error, CustomStringConvertible {
    var description: String {
      "there are no numbers left for its shared queues: lower limits.queues, or start the front anew"
    }
  }

  /// Nothing is stored yet; the bounds are those of the front that begins, whatever chains come later.
  public init(_ bootstrap: FrontBootstrap) {
    bounds = bootstrap.bounds
    // Whatever is stored can be read: an answer fits half of its ring, wherever that stands.
    maximumValue = max(Int(bootstrap.ring.answers) / 2 - 64, 0)
  }

  /// Forgets the names of what is gone.
  func sweep() {
    registry.with { registry in
      registry.plugins = registry.plugins.filter { $0.value.object != nil }
      registry.vms = registry.vms.filter { $0.value.object != nil }
      registry.byToken.removeAll { $0.vm.object == nil }
      registry.metrics = registry.metrics.filter { $0.value.object != nil }
    }
  }

  /// The plugin of that name and vm_id: the one that is there, with what it has, or a new one.
  func plugin(_ name: String, vmID: String) throws(NoTokensLeft) -> SharedPlugin {
    let (bounds, maximumValue) = (self.bounds, self.maximumValue)
    let made = registry.with { registry -> Result<SharedPlugin, NoTokensLeft> in
      let key = Registry.Key(name: name, vmID: vmID)
      if let plugin = registry.plugins[key]?.object { return .success(plugin) }
      let id = Array(vmID.utf8)
      let vm: SharedVM
      if let known = registry.vms[id]?.object {
        vm = known
      } else {
        let tokens = UInt32(clamping: max(bounds.queues, 1))
        let (next, overflows) = registry.nextToken.addingReportingOverflow(tokens)
        guard !overflows else { return .failure(NoTokensLeft()) }
        vm = SharedVM(
          isNamed: !id.isEmpty, firstToken: registry.nextToken, tokens: tokens,
          store: SharedStore(bounds, maximumValue: maximumValue))
        registry.nextToken = next
        if !id.isEmpty {
          registry.vms[id] = .init(object: vm)
          registry.byToken.append((vm.firstToken, .init(object: vm)))
        }
      }
      let metrics =
        registry.metrics[name]?.object ?? PluginMetrics(name: name, maximum: UInt32(clamping: bounds.metrics))
      registry.metrics[name] = .init(object: metrics)
      let plugin = SharedPlugin(number: registry.nextPlugin, name: name, vm: vm, metrics: metrics)
      registry.nextPlugin += 1
      registry.plugins[key] = .init(object: plugin)
      return .success(plugin)
    }
    return try made.get()
  }

  // MARK: From one front to the next

  /// Shared data, queues and metrics, for the front that takes this one's place.
  public func carried() -> CarriedState {
    let (plugins, vms, metrics) = registry.with { registry in
      (
        registry.plugins.values.compactMap(\.object),
        registry.vms.compactMap { id, vm in vm.object.map { (String(decoding: id, as: UTF8.self), $0) } },
        registry.metrics.values.compactMap(\.object)
      )
    }
    let names = Dictionary(plugins.map { ($0.number, $0.name) }, uniquingKeysWith: { first, _ in first })
    let all =
      vms.map { ($0, true, $1) } + plugins.lazy.filter { !$0.vm.isNamed }.map { ($0.name, false, $0.vm) }
    var state = CarriedState()
    state.stores = all.map { name, isVM, vm in
      // A copy, so that nobody waits for what is done with it.
      let store = vm.store.with { $0 }
      return store.carried(name, isVM: isVM, plugins: names)
    }
    state.metrics = metrics.flatMap(\.carried)
    return state
  }

  /// Takes over what the front before had.
  ///
  /// - Returns: how much of it had no room or no plugin here, for people; empty where all had.
  public func takeOver(_ state: CarriedState) -> String {
    let (plugins, vms, metrics) = registry.with { registry in
      (
        registry.plugins.values.compactMap(\.object),
        Dictionary(
          registry.vms.compactMap { id, vm in vm.object.map { (id, $0) } }, uniquingKeysWith: { first, _ in first }),
        registry.metrics.compactMapValues(\.object)
      )
    }
    let numbers = Dictionary(plugins.map { ($0.name, $0.number) }, uniquingKeysWith: { first, _ in first })
    let own = Dictionary(
      plugins.lazy.filter { !$0.vm.isNamed }.map { ($0.name, $0.vm) }, uniquingKeysWith: { first, _ in first })
    var (lost, lostMetrics) = (0, 0)
    for store in state.stores {
      guard let vm = store.isVM ? vms[Array(store.name.utf8)] : own[store.name] else {
        lost += store.entries.count + store.queues.reduce(0) { $0 + $1.messages.count }
        continue
      }
      lost += vm.store.with { $0.takeOver(store) { numbers[$0] } }
    }
    for metric in state.metrics where metrics[metric.plugin]?.takeOver(metric, isRest: state.isRest) != true {
      lostMetrics += 1
    }
    var parts: [String] = []
    if lost > 0 { parts.append("\(lost) values of shared data, messages or queues") }
    if lostMetrics > 0 { parts.append("\(lostMetrics) metrics") }
    return parts.joined(separator: " and ")
  }

  /// What a hostcall gives: the number of the answer (a cas, a token) or why there is none.
  typealias Outcome<Value> = Result<Value, SharedStore.Refusal>

  private static func run<Value: Sendable>(
    _ vm: SharedVM, _ body: (inout SharedStore) throws(SharedStore.Refusal) -> Value
  ) -> Outcome<Value> {
    vm.store.with { store in
      do throws(SharedStore.Refusal) { return .success(try body(&store)) } catch { return .failure(error) }
    }
  }

  // MARK: Shared data

  func set(_ key: [UInt8], _ value: [UInt8], cas: UInt64, plugin: SharedPlugin) -> Outcome<Void> {
    let old = Self.run(plugin.vm) { (store) throws(SharedStore.Refusal) in
      try store.set(key, value, cas: cas)
    }
    return old.map { _ in () }
  }

  func get(_ key: [UInt8], plugin: SharedPlugin) -> (value: [UInt8], cas: UInt32)? {
    plugin.vm.store.with { $0.get(key) }
  }

  // MARK: Queues

  /// The store and the queue of a token that the plugin may use: of its own vm_id, or one that it has resolved, since
  /// tokens are small numbers that anybody could guess.
  private func place(_ token: UInt64, plugin: SharedPlugin) -> (vm: SharedVM, queue: Int)? {
    if let queue = plugin.vm.queue(token) { return (plugin.vm, queue) }
    guard let number = UInt32(exactly: token), plugin.resolved.with({ $0.contains(number) }) else {
      return nil
    }
    return registry.with { registry in
      // The last one whose tokens begin at or before this one.
      var (low, high) = (0, registry.byToken.count)
      while low < high {
        let middle = (low + high) / 2
        if registry.byToken[middle].first <= number { low = middle + 1 } else { high = middle }
      }
      guard low > 0, let vm = registry.byToken[low - 1].vm.object, let queue = vm.queue(token) else { return nil }
      return (vm, queue)
    }
  }

  func register(_ name: [UInt8], plugin: SharedPlugin) -> Outcome<UInt32> {
    let queue = Self.run(plugin.vm) { (store) throws(SharedStore.Refusal) in
      try store.register(name, plugin: plugin.number)
    }
    return queue.flatMap { queue in
      guard let token = plugin.vm.token(queue: queue) else { return .failure(.status(.internalFailure)) }
      return .success(token)
    }
  }

  /// - Parameter vm: empty for the plugin's own.
  func resolve(vm id: [UInt8], _ name: [UInt8], plugin: SharedPlugin) -> UInt32? {
    guard let vm = id.isEmpty ? plugin.vm : registry.with({ $0.vms[id]?.object }) else { return nil }
    let queue = vm.store.with { $0.resolve(name) }
    guard let token = queue.flatMap({ vm.token(queue: $0) }) else { return nil }
    if vm !== plugin.vm { plugin.resolved.with { _ = $0.insert(token) } }
    return token
  }

  /// - Returns: the number of the plugin that is to be told.
  func enqueue(_ token: UInt64, _ message: [UInt8], plugin: SharedPlugin) -> Outcome<Int> {
    guard let place = place(token, plugin: plugin) else { return .failure(.status(.notFound)) }
    let sender = place.vm === plugin.vm ? nil : plugin.number
    return Self.run(place.vm) { (store) throws(SharedStore.Refusal) in
      try store.enqueue(place.queue, message, from: sender)
    }
  }

  func dequeue(_ token: UInt64, plugin: SharedPlugin) -> Outcome<[UInt8]> {
    // Messages are for the plugins of the queue's vm_id.
    guard let queue = plugin.vm.queue(token) else { return .failure(.status(.notFound)) }
    return Self.run(plugin.vm) { (store) throws(SharedStore.Refusal) in try store.dequeue(queue) }
  }

  // MARK: Notifications

  /// The tokens of the plugin's queues with messages of which the worker is still to be told.
  func owing(plugin: SharedPlugin, worker: UInt64) -> [UInt32] {
    let queues = plugin.vm.store.with { $0.owing(plugin: plugin.number, worker: worker) }
    return queues.compactMap { plugin.vm.token(queue: $0) }
  }

  /// How many notifications of that queue are to be sent to the worker now; they count as sent.
  func takeOwed(_ token: UInt32, plugin: SharedPlugin, worker: UInt64, most: Int) -> Int {
    guard let place = place(UInt64(token), plugin: plugin) else { return 0 }
    return place.vm.store.with {
      $0.takeOwed(place.queue, plugin: plugin.number, worker: worker, most: most)
    }
  }

  /// A worker of the plugin is lost, with all that it was told.
  func workerLost(_ worker: UInt64, plugin: SharedPlugin) {
    plugin.vm.store.with { $0.workerLost(worker) }
  }
}
