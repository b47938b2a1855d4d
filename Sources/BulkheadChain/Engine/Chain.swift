import BulkheadCore

/// One generation of the filter chain as one event loop has it: the hosts of its plugins, and how many streams run through
/// it. Its event loop alone touches it.
package final class Chain {
  package let settings: ChainSettings
  /// One a plugin, in the order of the chain.
  package let hosts: [PluginHost]
  /// Streams that began in it and are not over.
  package private(set) var streams = 0
  /// New streams take another one: it is over with its last stream.
  private(set) var isRetired = false

  package init(settings: ChainSettings, hosts: [PluginHost]) {
    self.settings = settings
    self.hosts = hosts
  }

  @inline(__always)
  func streamBegan() { streams &+= 1 }

  @inline(__always)
  package func streamEnded(on engine: ChainEngine) {
    streams &-= 1
    if isRetired, streams == 0 { engine.chainIsOver(self) }
  }

  /// The plugin's place, which is another one in another generation.
  @inline(__always)
  package func place(of host: PluginHost) -> Int? {
    let place = host.place
    return place < hosts.count && hosts[place] === host ? place : hosts.firstIndex { $0 === host }
  }

  /// The plugin with that number in what is shared.
  package func host(shared number: Int) -> PluginHost? { settings.placesOfShared[number].map { hosts[$0] } }

  /// From now on new streams take another one.
  package func retire(on engine: ChainEngine) {
    isRetired = true
    if streams == 0 { engine.chainIsOver(self) }
  }
}
