import BulkheadControl
import BulkheadCore

/// What a request to the control socket asks for.
enum ControlRoute: Equatable, Sendable {
  case status
  case plugins
  case workers
  case metrics
  case statistics
  case events(EventsQuery)
  case config
  case policies
  case policy(String)
  case policyOf(plugin: String)
  case reload
  /// How that reload ended, once it has.
  case reloadOutcome(UInt32)
  /// What a reload would change.
  case reloadCheck
  case upgrade
  case logLevel
  case setLogLevel(LogLevelChange)
  /// Drains, and ends.
  case stop
  case restart(plugin: String)
  case reset(plugin: String)
  /// Of one plugin, or of all.
  case crashes(plugin: String?)
  /// The same.
  case suspects(plugin: String?)
  case clearSuspects(plugin: String)
  /// Whether traffic may be sent.
  case ready
  /// Whether the loop runs.
  case live

  /// Why a request is none.
  enum Refusal: Error, Equatable, Sendable {
    case notFound
    case methodNotAllowed(allow: String)
    /// For people.
    case badQuery(String)
  }

  /// How long the answer may take beyond the usual.
  var wait: Duration {
    switch self {
    case .events(let query): .seconds(Int64(query.wait))
    case .reload, .reloadCheck, .reloadOutcome: Reloader.answerTime
    default: .zero
    }
  }

  /// Reads method and target of a request; a query is passed over where the path takes none.
  static func parse(method: String, target: String) -> Result<ControlRoute, Refusal> {
    let path = target.prefix { $0 != "?" && $0 != "#" }
    if let route = plainRoute(path) {
      return method == "GET" ? .success(route) : .failure(.methodNotAllowed(allow: "GET"))
    }
    let segments = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
    guard path.hasPrefix("/"), segments.first == "v1" else { return .failure(.notFound) }
    let rest = Array(segments.dropFirst())
    let route: ControlRoute
    let allowed: String
    switch rest.count {
    case 1:
      switch rest[0] {
      case "status": route = .status
      case "plugins": route = .plugins
      case "workers": route = .workers
      case "metrics": route = .metrics
      case "statistics": route = .statistics
      case "events":
        guard method == "GET" else { return .failure(.methodNotAllowed(allow: "GET")) }
        return eventsQuery(target.dropFirst(path.utf8.count + 1)).map { .events($0) }
      case "crashes":
        guard method == "GET" else { return .failure(.methodNotAllowed(allow: "GET")) }
        return pluginQuery(target.dropFirst(path.utf8.count + 1), ControlPaths.crashes).map { .crashes(plugin: $0) }
      case "suspects":
        guard method == "GET" else { return .failure(.methodNotAllowed(allow: "GET")) }
        return pluginQuery(target.dropFirst(path.utf8.count + 1), ControlPaths.suspects).map { .suspects(plugin: $0) }
      case "policies": route = .policies
      case "reload": route = .reload
      case "upgrade": route = .upgrade
      case "stop": route = .stop
      case "config": route = .config
      case "log-level":
        switch method {
        case "GET": return .success(.logLevel)
        case "PUT": return logLevelChange(target.dropFirst(path.utf8.count + 1)).map { .setLogLevel($0) }
        default: return .failure(.methodNotAllowed(allow: "GET, PUT"))
        }
      default: return .failure(.notFound)
      }
      allowed = [.reload, .upgrade, .stop].contains(route) ? "POST" : "GET"
    case 2 where rest[0] == "reload" && rest[1] == "check":
      route = .reloadCheck
      allowed = "POST"
    case 2 where rest[0] == "reload":
      guard let number = UInt32(rest[1]) else { return .failure(.notFound) }
      route = .reloadOutcome(number)
      allowed = "GET"
    case 2 where rest[0] == "policies":
      guard let name = decoded(rest[1]), !name.isEmpty else { return .failure(.notFound) }
      route = .policy(name)
      allowed = "GET"
    case 3 where rest[0] == "plugins" && rest[2] == "policy":
      guard let name = decoded(rest[1]), !name.isEmpty else { return .failure(.notFound) }
      route = .policyOf(plugin: name)
      allowed = "GET"
    case 3 where rest[0] == "plugins":
      guard let name = decoded(rest[1]), !name.isEmpty else { return .failure(.notFound) }
      switch rest[2] {
      case "restart": route = .restart(plugin: name)
      case "reset": route = .reset(plugin: name)
      default: return .failure(.notFound)
      }
      allowed = "POST"
    case 4 where rest[0] == "plugins" && rest[2] == "suspects" && rest[3] == "clear":
      guard let name = decoded(rest[1]), !name.isEmpty else { return .failure(.notFound) }
      route = .clearSuspects(plugin: name)
      allowed = "POST"
    default: return .failure(.notFound)
    }
    return method == allowed ? .success(route) : .failure(.methodNotAllowed(allow: allowed))
  }

  /// Paths where monitoring looks without having been told.
  private static func plainRoute(_ path: Substring) -> ControlRoute? {
    switch path {
    case ControlPaths.ready: .ready
    case ControlPaths.live, ControlPaths.health: .live
    case ControlPaths.plainMetrics: .metrics
    default: nil
    }
  }

  /// A query that may name a plugin.
  private static func pluginQuery(_ text: Substring, _ path: String) -> Result<String?, Refusal> {
    var plugin: String?
    for (key, value) in fields(text) {
      guard key == "plugin" else {
        return .failure(.badQuery("\(path) takes plugin, not '\(key)'"))
      }
      guard let name = value, !name.isEmpty else {
        return .failure(.badQuery("\(path): plugin takes a plugin's name"))
      }
      plugin = name
    }
    return .success(plugin)
  }

  private static func logLevelChange(_ text: Substring) -> Result<LogLevelChange, Refusal> {
    var change = LogLevelChange()
    var hasLevel = false
    for (key, text) in fields(text) {
      let value = text ?? ""
      func refusal(_ what: String) -> Result<LogLevelChange, Refusal> {
        .failure(.badQuery("\(ControlPaths.logLevel): \(key) takes \(what), not '\(value)'"))
      }
      switch key {
      case "level":
        change.level = LogLevel(name: value)
        guard change.level != nil || value == "default" else {
          return refusal((SupervisorOptions.logLevelNames + ["default"]).joined(separator: ", "))
        }
        hasLevel = true
      case "plugin":
        guard !value.isEmpty else { return refusal("a plugin's name") }
        change.plugin = value
      default: return .failure(.badQuery("\(ControlPaths.logLevel) takes level and plugin, not '\(key)'"))
      }
    }
    return hasLevel ? .success(change) : .failure(.badQuery("\(ControlPaths.logLevel): level is missing"))
  }

  private static func eventsQuery(_ text: Substring) -> Result<EventsQuery, Refusal> {
    var query = EventsQuery()
    for (key, text) in fields(text) {
      let value = text ?? ""
      func refusal(_ what: String) -> Result<EventsQuery, Refusal> {
        .failure(.badQuery("\(ControlPaths.events): \(key) takes \(what), not '\(value)'"))
      }
      switch key {
      case "after":
        guard let after = UInt64(value) else { return refusal("the sequence of an event") }
        query.after = after
      case "wait":
        guard let wait = UInt32(value), wait <= EventsQuery.longestWait else {
          return refusal("seconds, 0 to \(EventsQuery.longestWait)")
        }
        query.wait = wait
      case "limit":
        guard let limit = Int(value), (1...EventRing.maximumEvents).contains(limit) else {
          return refusal("a number, 1 to \(EventRing.maximumEvents)")
        }
        query.limit = limit
      case "plugin":
        guard !value.isEmpty else { return refusal("a plugin's name") }
        query.plugin = value
      default:
        return .failure(
          .badQuery("\(ControlPaths.events) takes after, wait, limit and plugin, not '\(key)'"))
      }
    }
    return .success(query)
  }

  /// The fields of a query, in their order; the value is nil where there is none, or where its percent-encoding is malformed.
  private static func fields(_ query: Substring) -> [(key: Substring, value: String?)] {
    query.prefix(while: { $0 != "#" }).split(separator: "&").map { field in
      let parts = field.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      return (parts[0], parts.count == 2 ? decoded(parts[1]) : nil)
    }
  }

  /// A path segment without its percent-encoding; nil where that is malformed or not UTF-8.
  private static func decoded(_ segment: Substring) -> String? {
    var bytes: [UInt8] = []
    var rest = segment.utf8[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard let high = rest.popFirst().flatMap(hexadecimal), let low = rest.popFirst().flatMap(hexadecimal) else {
        return nil
      }
      bytes.append(high << 4 | low)
    }
    return String(validating: bytes, as: UTF8.self)
  }

  private static func hexadecimal(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 0x30...0x39: byte - 0x30
    case 0x41...0x46: byte - 0x41 + 10
    case 0x61...0x66: byte - 0x61 + 10
    default: nil
    }
  }
}
