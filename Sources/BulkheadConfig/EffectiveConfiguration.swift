import BulkheadCore

/// One value of the configuration that is in force, for people.
public struct ConfigurationSetting: Hashable, Sendable {
  /// The key's path, for example `limits.bodyBytes` or `listeners[0].name`.
  public var key: String
  /// As `bulkhead.yaml` could say it; of files their paths, never their contents.
  public var value: String
}

extension Configuration {
  /// Every key of `bulkhead.yaml` with the value that holds, defaults filled in, in the order of the manual. What is off
  /// without having a value is `none`.
  public var settings: [ConfigurationSetting] {
    var settings: [ConfigurationSetting] = []
    func add(_ key: String, _ value: String) { settings.append(ConfigurationSetting(key: key, value: value)) }
    for (index, listener) in listeners.enumerated() {
      let key = "listeners[\(index)]"
      add("\(key).name", compactJSON(listener.name))
      add("\(key).address", compactJSON(listener.address.description))
      add("\(key).upstream", compactJSON(listener.upstream))
      add("\(key).protocol", listener.kind.rawValue)
      add("\(key).errorDetails", listener.kind == .tcp ? "none" : listener.errorDetails.rawValue)
    }
    for (index, upstream) in upstreams.enumerated() {
      for (key, value) in Self.values(of: upstream) { add("upstreams[\(index)].\(key)", value) }
    }
    add("plugins", compactJSON(pluginsDirectory))
    add("policies", compactJSON(policiesDirectory))
    add("cache", compactJSON(cacheDirectory))
    add("control.socket", compactJSON(controlSocket))
    add("control.group", controlGroup.map { compactJSON($0) } ?? "none")
    add("runtime.eventLoops", "\(eventLoops)")
    for setting in Bounds.table { add("limits.\(setting.name)", setting.text(of: bounds)) }
    for setting in Timeouts.table { add("timeouts.\(setting.name)", setting.text(of: timeouts)) }
    add("accessLog.path", Self.path(of: accessLog))
    let fields = accessLog?.fields.map { "\(compactJSON($0.name)): \(compactJSON($0.property))" } ?? []
    add("accessLog.fields", "{\(fields.joined(separator: ", "))}")
    add("events.path", eventLog.map { compactJSON($0.path) } ?? "none")
    add("events.size", (eventLog?.size ?? EventLog.defaultSize).yaml)
    add("admin.address", admin.map { compactJSON($0.address.description) } ?? "none")
    return settings
  }

  private static func path(of log: AccessLog?) -> String {
    switch log?.target {
    case .file(let path): compactJSON(path)
    case .standardOutput: "stdout"
    case nil: "none"
    }
  }

  private static func values(of upstream: Upstream) -> [(key: String, value: String)] {
    let endpoints = upstream.endpoints.map { compactJSON($0.description) }.joined(separator: ", ")
    return [
      ("name", compactJSON(upstream.name)), ("endpoints", upstream.isEcho ? "none" : "[\(endpoints)]"),
      ("builtin", upstream.isEcho ? "echo" : "none"),
      ("protocol", upstream.isEcho ? "none" : upstream.isHTTP2 ? "http2" : "http1"),
      ("tls", upstream.tls == nil ? "none" : "{}"),
    ]
      + (upstream.tls.map { tls in
        func file(_ path: String, _ none: String) -> String { path.isEmpty ? none : compactJSON(path) }
        return [
          ("tls.serverName", tls.serverName.isEmpty ? "none" : compactJSON(tls.serverName)),
          ("tls.caFile", file(upstream.tlsFiles.authorities, "none")),
          ("tls.certFile", file(upstream.tlsFiles.certificate, "none")),
          ("tls.keyFile", file(upstream.tlsFiles.privateKey, "none")),
        ]
      } ?? [])
  }
}
