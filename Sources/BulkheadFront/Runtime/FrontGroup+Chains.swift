import BulkheadChain
import BulkheadCore
import BulkheadRing
import BulkheadWire

/// The generations of the chain that are alive, as the control thread knows them.
struct ChainRegistry {
  /// The one that new streams take.
  var current: ChainSettings
  var prepared: ChainSettings?
  /// Plugins that some loop still has, by number, and how many loops have let go of each.
  private(set) var plugins: [UInt32: (entry: ChainSettings.Entry, letGo: Int)] = [:]

  init(_ first: ChainSettings) {
    current = first
    add(first)
  }

  var all: [ChainSettings] { [current] + (prepared.map { [$0] } ?? []) }

  mutating func add(_ chain: ChainSettings) {
    for entry in chain.entries where plugins[entry.number] == nil { plugins[entry.number] = (entry, 0) }
  }

  /// A prepared chain is not wanted: its new plugins are nobody's.
  mutating func discardPrepared() {
    guard let prepared else { return }
    self.prepared = nil
    let used = Set(current.entries.map(\.number))
    for entry in prepared.entries where !used.contains(entry.number) { plugins[entry.number] = nil }
  }

  /// One loop has let go of the plugin.
  ///
  /// - Returns: whether all have now.
  mutating func letGo(_ number: UInt32, loops: Int) -> Bool {
    guard let known = plugins[number] else { return false }
    plugins[number]?.letGo = known.letGo + 1
    guard known.letGo + 1 >= loops else { return false }
    plugins[number] = nil
    return true
  }
}

extension FrontGroup {
  /// Makes the next chain known to all loops.
  ///
  /// - Throws: `ChainSettings.Problem` where it cannot be; then nothing is changed.
  func prepareChain(_ bootstrap: FrontBootstrap, generation: UInt32) throws(ChainSettings.Problem) {
    let shared = self.shared
    let loops = self.loops
    let result = withChains { chains -> Result<ChainSettings, ChainSettings.Problem> in
      chains.discardPrepared()
      guard bootstrap.eventLoops == UInt32(clamping: loops.count) else {
        return .failure(.init(description: "it is for \(bootstrap.eventLoops) event loops, there are \(loops.count)"))
      }
      do throws(ChainSettings.Problem) {
        let chain = try ChainSettings(bootstrap, generation: generation, shared: shared, earlier: [chains.current])
        for entry in chain.entries where !chains.current.entries.contains(where: { $0.number == entry.number }) {
          guard chains.plugins[entry.number] == nil else {
            throw ChainSettings.Problem(description: "number \(entry.number) is that of a plugin which still drains")
          }
        }
        chains.prepared = chain
        chains.add(chain)
        return .success(chain)
      } catch { return .failure(error) }
    }
    let chain = try result.get()
    onEachLoop { $0.engine.prepare(chain) }
  }

  /// Gives new streams the prepared chain, and says so once every loop does.
  func activateChain(generation: UInt32) {
    let isPrepared = withChains { chains in
      guard let prepared = chains.prepared, prepared.generation == generation else { return false }
      chains.current = prepared
      chains.prepared = nil
      return true
    }
    guard isPrepared else {
      events.send(.chainRefused(generation: generation, detail: "it was not prepared"))
      return
    }
    activate(loops[...], generation)
  }

  /// One loop after the other, so that the last one knows that it is.
  private func activate(_ loops: ArraySlice<FrontLoop>, _ generation: UInt32) {
    guard let loop = loops.first else {
      events.send(.chainActivated(generation: generation))
      return
    }
    let rest = loops.dropFirst()
    loop.eventLoop.execute { [self] in
      _ = loop.engine.activate(generation: generation)
      activate(rest, generation)
    }
  }

  func discardChain(generation: UInt32) {
    let isPrepared = withChains { chains in
      guard chains.prepared?.generation == generation else { return false }
      chains.discardPrepared()
      return true
    }
    guard isPrepared else { return }
    onEachLoop { $0.engine.discard(generation: generation) }
  }

  /// The layout of the channels of that plugin's workers; nil where there is no such plugin.
  func layout(ofPlugin number: UInt32) -> ChannelLayout? { withChains { $0.plugins[number]?.entry.layout } }

  /// A loop has no stream of that plugin any more, nor a worker of it that owes anything.
  func letGo(ofPlugin number: UInt32) {
    let count = loops.count
    if withChains({ $0.letGo(number, loops: count) }) { events.send(.pluginDrained(plugin: number)) }
  }
}
