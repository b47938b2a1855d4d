import BulkheadCore

// The generations of the chain on one event loop: the one that new streams take, those that still have streams, and the
// one whose workers are being started.
extension ChainEngine {
  /// How often a plugin that is in no chain any more is looked at, until its workers owe nothing.
  private static let drainLook: UInt64 = 10_000_000

  /// What this loop knows by that number.
  public func plugin(_ number: UInt32) -> PluginWorkers? { plugins[number] }

  /// Makes the chain without giving it any stream; a prepared one before it is forgotten.
  public func prepare(_ settings: ChainSettings) {
    let before = preparedChain
    preparedChain = makeChain(settings)
    if let before { forgetUnused(before.plugins) }
  }

  func makeChain(_ settings: ChainSettings) -> Chain {
    let list = settings.entries.enumerated().map { place, entry in
      if let plugin = plugins[entry.number] { return plugin }
      let plugin = PluginWorkers(engine: self, place: place, entry)
      plugins[entry.number] = plugin
      return plugin
    }
    return Chain(settings: settings, plugins: list)
  }

  /// The prepared chain is not wanted any more.
  public func discard(generation: UInt32) {
    guard let prepared = preparedChain, prepared.settings.generation == generation else { return }
    preparedChain = nil
    forgetUnused(prepared.plugins)
  }

  /// New streams take the prepared chain from now on.
  ///
  /// - Returns: false where that generation was not prepared.
  public func activate(generation: UInt32) -> Bool {
    guard let next = preparedChain, next.settings.generation == generation else { return false }
    preparedChain = nil
    let before = chain
    retiredChains.append(before)
    chain = next
    let names = Set(next.plugins.map(\.settings.name))
    countersOfGone = countersOfGone.filter { names.contains($0.key) }
    for (place, plugin) in next.plugins.enumerated() {
      plugin.place = place
      // What is in the plugin's queues is news to its workers.
      plugin.notifyOfQueues()
    }
    before.retire(on: self)
    return true
  }

  /// A chain that takes no new streams has lost its last one.
  func chainIsOver(_ over: Chain) {
    retiredChains.removeAll { $0 === over }
    for plugin in over.plugins where !isUsed(plugin) { drain(plugin) }
  }

  private func isUsed(_ plugin: PluginWorkers) -> Bool {
    if let prepared = preparedChain, prepared.plugins.contains(where: { $0 === plugin }) { return true }
    return chain.place(of: plugin) != nil || retiredChains.contains { $0.place(of: plugin) != nil }
  }

  /// Plugins that no stream ever had.
  private func forgetUnused(_ list: [PluginWorkers]) {
    for plugin in list where !isUsed(plugin) { plugins[plugin.number] = nil }
  }

  /// Lets the workers of a plugin without streams finish what they owe, then lets go of it.
  private func drain(_ plugin: PluginWorkers) {
    guard !isUsed(plugin), plugins[plugin.number] === plugin else { return }
    if plugin.owesNothing() {
      plugins[plugin.number] = nil
      countersOfGone[plugin.settings.name, default: PluginCounters()].add(plugin.counters)
      plugin.counters = PluginCounters()
      driver.letGo(ofPlugin: plugin.number)
      return
    }
    driver.schedule(in: Self.drainLook) { [unowned self] in drain(plugin) }
  }

  /// What it has counted by now, of plugins in the order of that chain.
  public func counters(_ settings: ChainSettings) -> [PluginCounters] {
    var byName = countersOfGone
    for plugin in plugins.values { byName[plugin.settings.name, default: PluginCounters()].add(plugin.measured) }
    return settings.plugins.map { byName[$0.name] ?? PluginCounters() }
  }
}
