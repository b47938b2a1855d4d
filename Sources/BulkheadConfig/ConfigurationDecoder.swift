import BulkheadCore
import Glibc

/// Reads the document of `bulkhead.yaml`.
struct ConfigurationDecoder {
  /// What the file says of its directories, beside the configuration: a default one need not exist.
  struct Result {
    var configuration: Configuration
    var plugins: Field?
    var policies: Field?
  }

  static let keys = [
    "listeners", "upstreams", "plugins", "policies", "cache", "control", "runtime", "limits", "timeouts",
    "accessLog", "events", "admin",
  ]
  static let listenerKeys = ["name", "address", "upstream", "protocol", "errorDetails"]
  /// Keys that listeners of others have.
  static let listenerHints = [
    "tls": "a listener takes plaintext alone: let a proxy that ends TLS stand in front of it",
    "routes": "there are no routes: a listener has one 'upstream'",
    "plugins": "plugins are not said by listener: each HTTP plugin runs for every HTTP listener",
  ]
  static let upstreamKeys = ["name", "endpoints", "builtin", "protocol", "tls"]
  static let controlKeys = ["socket", "group"]

  let source: Source

  func decode(_ document: YAMLValue) -> Result? {
    guard let section = Field(value: document, path: "", source: source).section(Self.keys) else { return nil }
    let upstreams = decodeUpstreams(section)
    let control = section["control"]?.section(Self.controlKeys)
    var configuration = Configuration(
      file: source.file,
      listeners: decodeListeners(section, upstreams: upstreams),
      upstreams: upstreams,
      pluginsDirectory: decodePath(section["plugins"], default: "plugins.d"),
      policiesDirectory: decodePath(section["policies"], default: "policies"),
      cacheDirectory: decodePath(section["cache"], default: "/var/cache/bulkhead"),
      controlSocket: decodeControlSocket(control?["socket"]),
      eventLoops: decodeEventLoops(section),
      bounds: decode(section["limits"], as: Bounds.self),
      timeouts: decode(section["timeouts"], as: Timeouts.self))
    configuration.cacheLocation = section["cache"]?.location
    configuration.controlSocketLocation = control?["socket"]?.location
    configuration.controlGroup = control?["group"]?.nonEmptyString()
    configuration.controlGroupLocation = control?["group"]?.location
    configuration.accessLog = section["accessLog"].flatMap { AccessLogDecoder(source: source).decode($0) }
    configuration.eventLog = section["events"].flatMap { EventsDecoder(source: source).decode($0) }
    configuration.admin = section["admin"].flatMap {
      AdminDecoder(source: source).decode($0, listeners: configuration.listeners)
    }
    return Result(configuration: configuration, plugins: section["plugins"], policies: section["policies"])
  }

  private func decodeListeners(_ section: Section, upstreams: [Configuration.Upstream]) -> [Configuration.Listener] {
    guard let list = section.required("listeners", "at least one listener is needed"), let fields = list.elements()
    else { return [] }
    if fields.isEmpty { list.report("at least one listener is needed") }
    if fields.count > Limits.maximumListeners {
      list.report("at most \(Limits.maximumListeners) listeners are possible")
    }
    var names: [String: SourceLocation] = [:]
    var addresses: [NetworkAddress: String] = [:]
    var listeners: [Configuration.Listener] = []
    for field in fields.prefix(Limits.maximumListeners) {
      guard let section = field.section(Self.listenerKeys, hints: Self.listenerHints) else { continue }
      let name = decodeName(of: section, what: "listener", seen: &names)
      let place = section.required("address", "host:port to listen on")
      let address = place.flatMap { decodeAddress($0, ports: 0...65_535) }
      if let address, address.port != 0, let other = addresses.updateValue(name ?? "", forKey: address) {
        place?.report("\(address) is already what listener '\(other)' listens on")
      }
      let kinds = Listener.Kind.allCases.map { ($0.rawValue, $0) }
      let kind = section["protocol"]?.choice(kinds) ?? .http
      let details = section["errorDetails"]?.choice(
        Listener.ErrorDetails.allCases.map { ($0.rawValue, $0) })
      if kind == .tcp {
        section["errorDetails"]?.report("a listener with 'protocol: tcp' answers nothing: leave it out")
      }
      let target = section.required("upstream", "the name of an upstream")
      let upstream = target.flatMap { reference($0, to: upstreams) }
      if let target, let upstream { refuse(upstream, for: kind, at: target) }
      if let name, let address, let upstream {
        listeners.append(
          .init(
            Listener(
              name: name, address: address, upstream: upstream.name, kind: kind, errorDetails: details ?? .log),
            location: field.location))
      }
    }
    return listeners
  }

  /// What a listener's own traffic cannot be sent to; plugins' calls out can.
  private func refuse(_ upstream: Configuration.Upstream, for kind: Listener.Kind, at field: Field) {
    // TLS has no way to end one direction while the other goes on, as TCP has.
    guard kind == .tcp, upstream.tls != nil else { return }
    field.report(
      "upstream '\(upstream.name)' has 'tls', which is for requests and for calls of plugins: the bytes of a listener with "
        + "'protocol: tcp' go to its upstream as they are")
  }

  private func reference(_ field: Field, to upstreams: [Configuration.Upstream]) -> Configuration.Upstream? {
    guard let name = field.string() else { return nil }
    guard let upstream = upstreams.first(where: { $0.name == name }) else {
      field.report("there is no upstream '\(name)'", suggestion: NearestName.of(name, among: upstreams.map(\.name)))
      return nil
    }
    return upstream
  }

  private func decodeUpstreams(_ section: Section) -> [Configuration.Upstream] {
    var names: [String: SourceLocation] = [:]
    var upstreams = (section["upstreams"]?.elements() ?? []).compactMap { decodeUpstream($0, seen: &names) }
    if names[Configuration.echoUpstream] == nil {
      upstreams.append(
        .init(
          Upstream(name: Configuration.echoUpstream, kind: .echo), location: SourceLocation(file: source.file)))
    }
    return upstreams
  }

  private func decodeUpstream(_ field: Field, seen: inout [String: SourceLocation]) -> Configuration.Upstream? {
    guard let section = field.section(Self.upstreamKeys) else { return nil }
    let name = decodeName(of: section, what: "upstream", seen: &seen)
    let kind: Upstream.Kind?
    switch (section["endpoints"], section["builtin"]) {
    case (let endpoints?, nil):
      let fields = endpoints.elements()
      if fields?.isEmpty == true { endpoints.report("at least one host:port is needed") }
      if let count = fields?.count, count > 65_536 { endpoints.report("at most 65536 endpoints are possible") }
      let addresses = fields?.prefix(65_536).map { decodeAddress($0, ports: 1...65_535) }
      kind = addresses.map { .endpoints($0.compactMap { $0 }) }
    case (nil, let builtin?):
      kind = builtin.choice([("echo", .echo)])
    case (.some, let builtin?):
      builtin.report("an upstream has either 'endpoints' or 'builtin', not both")
      kind = nil
    case (nil, nil):
      field.report("an upstream needs 'endpoints' (a list of host:port) or 'builtin: echo'")
      kind = nil
    }
    if section["builtin"] != nil {
      for key in ["protocol", "tls"] { section[key]?.report("a builtin upstream is part of the front: leave it out") }
    }
    guard let name else { return nil }
    // A name that is there must count as there, whatever else is wrong: one mistake is one error.
    var upstream = Configuration.Upstream(
      Upstream(
        name: name, kind: kind ?? .echo,
        isHTTP2: section["protocol"]?.choice([("http1", false), ("http2", true)]) ?? false),
      location: field.location)
    if let field = section["tls"] { UpstreamTLSDecoder(source: source).decode(field, into: &upstream) }
    return upstream
  }

  private func decodeName(of section: Section, what: String, seen: inout [String: SourceLocation]) -> String? {
    guard let field = section.required("name", "the \(what)'s name"), let name = field.nonEmptyString() else {
      return nil
    }
    guard name.utf8.count <= Limits.maximumUpstreamName else {
      field.report("a name has at most \(Limits.maximumUpstreamName) bytes")
      return nil
    }
    if let first = seen[name] {
      field.report("the \(what) '\(name)' is there already, at \(first)")
    } else {
      seen[name] = field.location
    }
    return name
  }

  func decodeAddress(_ field: Field, ports: ClosedRange<UInt16>) -> NetworkAddress? {
    guard let text = field.string() else { return nil }
    do {
      let address = try NetworkAddress(parsing: text)
      guard ports.contains(address.port) else {
        field.report("the port must be from \(ports.lowerBound) to \(ports.upperBound), not \(address.port)")
        return nil
      }
      return address
    } catch {
      field.report(error.message)
      return nil
    }
  }

  func decodePath(_ field: Field?, default standard: String) -> String {
    guard let field else { return Path.absolute(standard, from: source.directory) }
    guard let text = field.nonEmptyString() else { return "" }
    guard !text.utf8.contains(0) else {
      field.report("a path cannot hold a NUL character")
      return ""
    }
    return Path.absolute(text, from: source.directory)
  }

  private func decodeControlSocket(_ field: Field?) -> String {
    let socket = decodePath(field, default: "/run/bulkhead/control.sock")
    // Of `sun_path`, less what some libraries keep for themselves.
    let longest = 103
    if socket.utf8.count > longest {
      field?.report("\(socket) is \(socket.utf8.count) bytes long, and a socket's path has at most \(longest)")
    }
    return socket
  }

  private func decodeEventLoops(_ section: Section) -> Int {
    let range = 1...Limits.maximumEventLoops
    if let field = section["runtime"]?.section(["eventLoops"])?["eventLoops"] { return field.integer(range) ?? 1 }
    return min(max(sysconf(Int32(_SC_NPROCESSORS_ONLN)), range.lowerBound), range.upperBound)
  }

  /// A section that has a table.
  private func decode<Values: Settings>(_ field: Field?, as values: Values.Type) -> Values {
    var values = Values()
    guard let section = field?.section(Values.table.map(\.name)) else { return values }
    for setting in Values.table {
      if let field = section[setting.name] { setting.decode(field, into: &values) }
    }
    return values
  }
}
