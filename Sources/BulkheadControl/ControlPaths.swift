/// Where the control API is found.
public enum ControlPaths {
  /// The socket of a system installation.
  public static let defaultSocket = "/run/bulkhead/control.sock"
  /// The environment variable that names another one.
  public static let socketVariable = "BULKHEAD_SOCKET"

  /// `GET`: `StatusResponse`.
  public static let status = "/v1/status"
  /// `GET`: `PluginsResponse`.
  public static let plugins = "/v1/plugins"
  /// `GET`: `WorkersResponse`.
  public static let workers = "/v1/workers"
  /// `GET`: `StatisticsResponse`.
  public static let statistics = "/v1/statistics"
  /// `GET`: `EventsResponse`. `after=SEQUENCE`, `wait=SECONDS` (at most 20: how long to wait for an event where there is
  /// none), `limit=NUMBER` and `plugin=NAME` say which.
  public static let events = "/v1/events"

  /// The path and query of `events`.
  public static func events(after: UInt64, wait: Int, limit: Int? = nil, plugin: String? = nil) -> String {
    "\(events)?after=\(after)&wait=\(wait)" + (limit.map { "&limit=\($0)" } ?? "")
      + (plugin.map { "&plugin=\(segment($0))" } ?? "")
  }

  /// `GET`: `CrashesResponse`; `plugin=NAME` asks for one plugin's, with examples.
  public static let crashes = "/v1/crashes"

  /// The path and query of `crashes`.
  public static func crashes(plugin: String?) -> String { crashes + (plugin.map { "?plugin=\(segment($0))" } ?? "") }

  /// `GET`: `SuspectsResponse`; `plugin=NAME` asks for one plugin's.
  public static let suspects = "/v1/suspects"

  /// The path and query of `suspects`.
  public static func suspects(plugin: String?) -> String { suspects + (plugin.map { "?plugin=\(segment($0))" } ?? "") }

  /// `POST`: `PluginInfo`, after its suspects were forgotten.
  public static func clearSuspects(plugin: String) -> String { "\(plugins)/\(segment(plugin))/suspects/clear" }

  /// `GET`: `ConfigResponse`.
  public static let config = "/v1/config"
  /// `GET` and `PUT`: `LogLevelResponse`.
  public static let logLevel = "/v1/log-level"

  /// The path and query of a change: `level` is a level's name, or `default`.
  public static func logLevel(_ level: String, plugin: String?) -> String {
    "\(logLevel)?level=\(segment(level))" + (plugin.map { "&plugin=\(segment($0))" } ?? "")
  }

  /// `POST`: `StatusResponse`, after the stop was begun.
  public static let stop = "/v1/stop"
  /// `POST`: `ReloadResponse`: what a reload would change, with nothing changed.
  public static let reloadCheck = "/v1/reload/check"
  /// `GET`: `PoliciesResponse`.
  public static let policies = "/v1/policies"
  /// `POST`: `UpgradeInfo`, after the upgrade was begun; how it goes on is part of the status.
  public static let upgrade = "/v1/upgrade"
  /// `GET`: Prometheus text, of `metricsContentType`.
  public static let metrics = "/v1/metrics"
  /// `GET`: the same where scrapers look for it.
  public static let plainMetrics = "/metrics"
  /// `GET`: 200 where the front serves and every plugin has had its first start, else 503 with why, as a line of text.
  public static let ready = "/ready"
  /// `GET`: 200 where the supervisor's loop runs. `/healthz` is the same.
  public static let live = "/live"
  /// `GET`: the same as `live`, where container platforms look for it.
  public static let health = "/healthz"
  /// The content type of `metrics`: Prometheus' text format.
  public static let metricsContentType = "text/plain; version=0.0.4; charset=utf-8"

  /// `POST`: `ReloadResponse`, once the configuration was read again and holds; with status 202 where that takes longer.
  /// Then `GET` with `/NUMBER` behind it waits for the same.
  public static let reload = "/v1/reload"

  /// `POST`: `PluginInfo`, after the restart was asked for. The name is percent-encoded as a path segment.
  public static func restart(plugin: String) -> String { "\(plugins)/\(segment(plugin))/restart" }

  /// `POST`: `PluginInfo`, after the reset.
  public static func reset(plugin: String) -> String { "\(plugins)/\(segment(plugin))/reset" }

  /// `GET`: `PolicyResponse`, of a policy.
  public static func policy(_ name: String) -> String { "\(policies)/\(segment(name))" }

  /// `GET`: `PolicyResponse`, of a plugin: its policy with its overrides.
  public static func policy(ofPlugin plugin: String) -> String { "\(plugins)/\(segment(plugin))/policy" }

  private static func segment(_ name: String) -> String {
    let hex = Array("0123456789ABCDEF")
    return name.utf8.reduce(into: "") { path, byte in
      switch byte {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x7E:
        path.unicodeScalars.append(Unicode.Scalar(byte))
      default:
        path += "%\(hex[Int(byte >> 4)])\(hex[Int(byte & 15)])"
      }
    }
  }
}
