import BulkheadConfig
import BulkheadCore
import BulkheadPolicy
import BulkheadWire

extension FrontBootstrap {
  /// What the front needs to know of a configuration.
  ///
  /// - Parameter plugins: in the order of the chain, each with what its module exports.
  init(
    _ configuration: Configuration, plugins: [(manifest: PluginManifest, policy: CrashPolicy, callbacks: CallbackSet)],
    logLevel: LogLevel, maximumSpinMicroseconds: UInt32
  ) {
    let numbers = Dictionary(
      configuration.upstreams.enumerated().map { ($1.name, UInt32($0)) }, uniquingKeysWith: { first, _ in first })
    self.init(
      eventLoops: UInt32(clamping: configuration.eventLoops), maximumSpinMicroseconds: maximumSpinMicroseconds,
      logLevel: logLevel,
      listeners: configuration.listeners.map { Listener(name: $0.name, upstream: numbers[$0.upstream] ?? 0) },
      upstreams: configuration.upstreams.map {
        Upstream(name: $0.name, isEcho: $0.isEcho, endpoints: $0.endpoints.map(\.description))
      },
      plugins: plugins.map {
        Plugin(
          name: $0.manifest.name, failStrategy: $0.manifest.failStrategy, callbacks: $0.callbacks,
          callbackDeadline: $0.policy.callbackDeadline.wholeMilliseconds,
          admissionWait: $0.policy.admissionWait.wholeMilliseconds)
      })
    timeouts.headerRead = configuration.timeouts.headerRead.wholeMilliseconds
    timeouts.idle = configuration.timeouts.idle.wholeMilliseconds
    timeouts.upstreamConnect = configuration.timeouts.upstreamConnect.wholeMilliseconds
    timeouts.upstreamResponse = configuration.timeouts.upstreamResponse.wholeMilliseconds
    bounds.headerBytes = UInt32(clamping: configuration.bounds.headerBytes.bytes)
    bounds.headerCount = UInt32(clamping: configuration.bounds.headerCount)
    bounds.bodyBytes = configuration.bounds.bodyBytes.bytes
    bounds.connections = UInt32(clamping: configuration.bounds.connections)
    bounds.upstreamConnections = UInt32(clamping: configuration.bounds.upstreamConnections)
  }
}

extension Duration {
  /// In milliseconds, rounded up, so that a time is never none; what does not fit is the largest there is.
  var wholeMilliseconds: UInt32 {
    let (seconds, attoseconds) = components
    guard seconds >= 0, attoseconds >= 0 else { return 0 }
    guard seconds < Int64(UInt32.max) / 1_000 else { return .max }
    return UInt32(clamping: seconds * 1_000 + (attoseconds + 999_999_999_999_999) / 1_000_000_000_000_000)
  }

  /// In seconds, for people and machines.
  var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) / 1e18 }

  /// For people: `100 ms`, `5 s`.
  var text: String {
    components.attoseconds == 0 ? "\(components.seconds) s" : "\(wholeMilliseconds) ms"
  }
}
