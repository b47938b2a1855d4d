import BulkheadCore
import BulkheadRing
import BulkheadWire

/// One generation of the filter chain, worked out: what all event loops read of it and nobody changes.
///
/// The chain that a front starts with is generation 0; each `FrontCommand.prepareChain` brings the next one. A stream keeps
/// the chain that it began with to its end.
public final class ChainSettings: Sendable {
  /// One plugin at its place.
  public struct Entry: Sendable {
    /// What holds for it.
    public var settings: PluginSettings
    /// Its number on the wire, never used for another plugin, nor for another revision of it.
    public var number: UInt32
    /// Of its workers' channels.
    public var layout: ChannelLayout
    /// What it shares with others, and with its own other revisions.
    public var shared: SharedPlugin
  }

  /// Why a bootstrap makes no chain.
  public struct Problem: Error, CustomStringConvertible {
    public var description: String

    /// - Parameter description: for people.
    public init(description: String) { self.description = description }
  }

  /// Counts the chains of the front, from 0.
  public let generation: UInt32
  /// The plugins, in the order of the chain.
  public let entries: [Entry]
  /// As they came.
  public let plugins: [FrontBootstrap.Plugin]
  /// Whether any plugin exports a callback for requests.
  public let hasRequestCallbacks: Bool
  /// The same for responses.
  public let hasResponseCallbacks: Bool
  /// Whether any plugin has a lane for suspects.
  public let hasLanes: Bool
  /// Who is told of bodies and trailers of requests, in the order in which they pass.
  public let requestRoles: [Stage.Role]
  /// The same for responses, which pass from the last plugin to the first.
  public let responseRoles: [Stage.Role]
  /// Whether any of them is told of bodies; the others wait for trailers.
  public let hasRequestBodyCallbacks: Bool
  /// The same for responses.
  public let hasResponseBodyCallbacks: Bool
  /// Places in the chain of the plugins that are called for TCP connections.
  public let networkPlaces: [Int]
  /// What they are told of the bytes of a connection, in the order in which those pass.
  private let networkRequestRoles: [Stage.Role]
  private let networkResponseRoles: [Stage.Role]
  /// By the plugins' numbers in what is shared.
  let placesOfShared: [Int: Int]
  /// The largest callback record that every channel takes.
  let maximumRecord: Int

  /// - Parameter earlier: the generations that are alive: a plugin that is in one of them keeps its channels' layout.
  public init(
    _ bootstrap: FrontBootstrap, generation: UInt32, shared: SharedState, earlier: [ChainSettings] = []
  ) throws(Problem) {
    guard
      let layout = ChannelLayout(
        eventLoops: Int(bootstrap.eventLoops), callbackBytes: Int(bootstrap.ring.callbacks),
        replyBytes: Int(bootstrap.ring.replies), answerBytes: Int(bootstrap.ring.answers))
    else { throw Problem(description: "the ring sizes make no channel") }
    shared.sweep()
    var known: [UInt32: Entry] = [:]
    for chain in earlier { for entry in chain.entries { known[entry.number] = entry } }
    var entries: [Entry] = []
    var numbers: Set<UInt32> = []
    for (place, plugin) in bootstrap.plugins.enumerated() {
      let number = plugin.number ?? UInt32(clamping: place)
      guard numbers.insert(number).inserted else {
        throw Problem(description: "plugin \(plugin.name) has number \(number), which another one has")
      }
      if let entry = known[number] {
        guard entry.settings == PluginSettings(plugin) else {
          throw Problem(description: "plugin \(plugin.name) has the number of another revision, \(number)")
        }
        entries.append(entry)
        continue
      }
      let identity: SharedPlugin
      do throws(SharedState.NoTokensLeft) {
        identity = try shared.plugin(plugin.name, vmID: plugin.vmID)
      } catch {
        throw Problem(description: "plugin \(plugin.name): \(error)")
      }
      entries.append(
        Entry(settings: PluginSettings(plugin), number: number, layout: layout, shared: identity))
    }
    self.generation = generation
    self.entries = entries
    plugins = bootstrap.plugins
    placesOfShared = Dictionary(
      entries.enumerated().map { ($1.shared.number, $0) }, uniquingKeysWith: { first, _ in first })
    let callbacks = entries.map(\.settings.callbacks)
    networkPlaces = callbacks.indices.filter { !callbacks[$0].isDisjoint(with: .network) }
    networkRequestRoles = networkPlaces.map {
      Stage.Role(place: $0, hasBytes: callbacks[$0].contains(.downstreamData), hasTrailers: false)
    }
    networkResponseRoles = networkPlaces.reversed().map {
      Stage.Role(place: $0, hasBytes: callbacks[$0].contains(.upstreamData), hasTrailers: false)
    }
    hasLanes = entries.contains { $0.settings.hasLane }
    hasRequestCallbacks = callbacks.contains { $0.contains(.requestHeaders) }
    hasResponseCallbacks = callbacks.contains { $0.contains(.responseHeaders) }
    requestRoles = callbacks.enumerated().compactMap { place, callbacks in
      callbacks.isDisjoint(with: [.requestBody, .requestTrailers])
        ? nil
        : Stage.Role(
          place: place, hasBytes: callbacks.contains(.requestBody), hasTrailers: callbacks.contains(.requestTrailers))
    }
    responseRoles = callbacks.enumerated().reversed().compactMap { place, callbacks in
      callbacks.isDisjoint(with: [.responseBody, .responseTrailers])
        ? nil
        : Stage.Role(
          place: place, hasBytes: callbacks.contains(.responseBody), hasTrailers: callbacks.contains(.responseTrailers))
    }
    hasRequestBodyCallbacks = requestRoles.contains { $0.hasBytes }
    hasResponseBodyCallbacks = responseRoles.contains { $0.hasBytes }
    maximumRecord =
      entries.map { min($0.layout.callbackBytes, $0.layout.replyBytes) / 2 - 8 }.min() ?? bootstrap.ring.maximumRecord
  }

  /// Who is told of the bytes and trailers of a direction, in the order in which they pass.
  public func roles(_ proto: StreamProtocol, _ direction: Direction) -> [Stage.Role] {
    switch (proto, direction) {
    case (.tcp, .request): networkRequestRoles
    case (.tcp, .response): networkResponseRoles
    case (.http, .request): requestRoles
    case (.http, .response): responseRoles
    }
  }
}
