import BulkheadCore

// The generations of the chain on one event loop: the one that new streams take, those that still have streams, and the
// one whose workers are being started.
extension ChainEngine {
  /// How often a host that is in no chain any more is looked at, until its workers owe nothing.
  private static let drainLook: UInt64 = 10_000_000

  /// What this loop knows by that number.
  package func host(_ number: UInt32) -> PluginHost? { hosts[number] }

  /// Makes the chain without giving it any stream; a prepared one before it is forgotten.
  package func prepare(_ settings: ChainSettings) {
    let before = preparedChain
    preparedChain = makeChain(settings)
    if let before { forgetUnused(before.hosts) }
  }

  func makeChain(_ settings: ChainSettings) -> Chain {
    let list = settings.entries.enumerated().map { place, entry in
      if let host = hosts[entry.number] { return host }
      let host = PluginHost(engine: self, place: place, entry)
      hosts[entry.number] = host
      return host
    }
    return Chain(settings: settings, hosts: list)
  }

  /// The prepared chain is not wanted any more.
  package func discard(generation: UInt32) {
    guard let prepared = preparedChain, prepared.settings.generation == generation else { return }
    preparedChain = nil
    forgetUnused(prepared.hosts)
  }

  /// New streams take the prepared chain from now on.
  ///
  /// - Returns: false where that generation was not prepared.
  package func activate(generation: UInt32) -> Bool {
    guard let next = preparedChain, next.settings.generation == generation else { return false }
    preparedChain = nil
    let before = chain
    retiredChains.append(before)
    chain = next
    let names = Set(next.hosts.map(\.settings.name))
    countersOfGone = countersOfGone.filter { names.contains($0.key) }
    for (place, host) in next.hosts.enumerated() {
      host.place = place
      // What is in the plugin's queues is news to its workers.
      host.notifyOfQueues()
    }
    before.retire(on: self)
    return true
  }

  /// A chain that takes no new streams has lost its last one.
  func chainIsOver(_ over: Chain) {
    retiredChains.removeAll { $0 === over }
    for host in over.hosts where !isUsed(host) { drain(host) }
  }

  private func isUsed(_ host: PluginHost) -> Bool {
    if let prepared = preparedChain, prepared.hosts.contains(where: { $0 === host }) { return true }
    return chain.place(of: host) != nil || retiredChains.contains { $0.place(of: host) != nil }
  }

  /// Hosts that no stream ever had.
  private func forgetUnused(_ list: [PluginHost]) {
    for host in list where !isUsed(host) { hosts[host.number] = nil }
  }

  /// Lets the workers of a host without streams finish what they owe, then lets go of it.
  private func drain(_ host: PluginHost) {
    guard !isUsed(host), hosts[host.number] === host else { return }
    if host.owesNothing() {
      hosts[host.number] = nil
      countersOfGone[host.settings.name, default: PluginCounters()].add(host.counters)
      host.counters = PluginCounters()
      driver.letGo(ofPlugin: host.number)
      return
    }
    driver.schedule(in: Self.drainLook) { [unowned self] in drain(host) }
  }

  /// What it has counted by now, of plugins in the order of that chain.
  package func counters(_ settings: ChainSettings) -> [PluginCounters] {
    var byName = countersOfGone
    for host in hosts.values { byName[host.settings.name, default: PluginCounters()].add(host.measured) }
    return settings.plugins.map { byName[$0.name] ?? PluginCounters() }
  }
}
