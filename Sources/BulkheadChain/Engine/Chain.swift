import BulkheadCore

/// One generation of the filter chain as one event loop has it: its plugins, and how many streams run through
/// it. Its event loop alone touches it.
public final class Chain {
  /// What all event loops have of this generation.
  public let settings: ChainSettings
  /// One a plugin, in the order of the chain.
  public let plugins: [PluginWorkers]
  /// Streams that began in it and are not over.
  private(set) var streams = 0
  /// New streams take another one: it is over with its last stream.
  private(set) var isRetired = false

  init(settings: ChainSettings, plugins: [PluginWorkers]) {
    self.settings = settings
    self.plugins = plugins
  }

  @inline(__always)
  func streamBegan() { streams &+= 1 }

  @inline(__always)
  func streamEnded(on engine: ChainEngine) {
    streams &-= 1
    if isRetired, streams == 0 { engine.chainIsOver(self) }
  }

  /// The plugin's place, which is another one in another generation.
  @inline(__always)
  func place(of plugin: PluginWorkers) -> Int? {
    let place = plugin.place
    return place < plugins.count && plugins[place] === plugin ? place : plugins.firstIndex { $0 === plugin }
  }

  /// The plugin with that number in what is shared.
  func plugin(shared number: Int) -> PluginWorkers? { settings.placesOfShared[number].map { plugins[$0] } }

  /// From now on new streams take another one.
  func retire(on engine: ChainEngine) {
    isRetired = true
    if streams == 0 { engine.chainIsOver(self) }
  }
}
