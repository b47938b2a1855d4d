import BulkheadConfig
import BulkheadCore
import BulkheadPolicy

/// What a configuration has that the one before has not.
enum ConfigurationChange {
  /// The keys that cannot change while the front runs, in the order of the file.
  static func fixedKeys(_ old: Configuration, _ new: Configuration) -> [String] {
    var keys: [String] = []
    func compare(_ key: String, _ isSame: Bool) { if !isSame { keys.append(key) } }
    compare("listeners", old.listeners.map(withoutLocation) == new.listeners.map(withoutLocation))
    compare("upstreams", old.upstreams.map(withoutLocation) == new.upstreams.map(withoutLocation))
    compare("cache", old.cacheDirectory == new.cacheDirectory)
    compare("controlSocket", old.controlSocket == new.controlSocket)
    compare("control.group", old.controlGroup == new.controlGroup)
    compare("eventLoops", old.eventLoops == new.eventLoops)
    compare("limits", old.bounds == new.bounds)
    compare("timeouts", old.timeouts == new.timeouts)
    compare("accessLog", old.accessLog.map(withoutLocation) == new.accessLog.map(withoutLocation))
    compare(
      "events", old.eventLog?.path == new.eventLog?.path && old.eventLog?.size == new.eventLog?.size)
    compare("admin", old.admin?.address == new.admin?.address)
    return keys
  }

  private static let nowhere = SourceLocation(file: "")

  private static func withoutLocation(_ listener: Configuration.Listener) -> Configuration.Listener {
    var listener = listener
    listener.location = nowhere
    return listener
  }

  private static func withoutLocation(_ upstream: Configuration.Upstream) -> Configuration.Upstream {
    var upstream = upstream
    upstream.location = nowhere
    // Certificates are renewed all the time: their contents are no change of the configuration.
    upstream.tlsFiles = .init()
    if let tls = upstream.tls {
      upstream.tls?.authorities = tls.authorities.isEmpty ? [] : [0]
      upstream.tls?.certificate = tls.certificate.isEmpty ? [] : [0]
      upstream.tls?.privateKey = tls.privateKey.isEmpty ? [] : [0]
    }
    return upstream
  }

  /// The upstreams whose TLS files have other contents.
  static func renewedTLS(_ old: Configuration, _ new: Configuration) -> [String] {
    let before = Dictionary(old.upstreams.map { ($0.name, $0.tls) }, uniquingKeysWith: { first, _ in first })
    return new.upstreams.filter { before[$0.name] != .some($0.tls) }.map(\.name)
  }

  private static func withoutLocation(_ log: Configuration.AccessLog) -> Configuration.AccessLog {
    var log = log
    log.location = nowhere
    return log
  }

  /// Whether a plugin's workers may go on under the other manifest: it says the same but for where it stands, in its file
  /// and in the chain, and where its module is found.
  static func isSame(_ old: PluginManifest, _ new: PluginManifest) -> Bool {
    var new = new
    new.location = old.location
    new.phase = old.phase
    new.priority = old.priority
    new.modulePath = old.modulePath
    new.moduleLocation = old.moduleLocation
    // What it vouches for was compared with the module.
    new.sha256 = old.sha256
    return old == new
  }
}
