/// The callbacks of Proxy-Wasm that a module may export and Bulkhead may make.
public struct CallbackSet: OptionSet, Sendable, Hashable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  public static let requestHeaders = CallbackSet(rawValue: 1 << 0)
  public static let requestBody = CallbackSet(rawValue: 1 << 1)
  public static let requestTrailers = CallbackSet(rawValue: 1 << 2)
  public static let responseHeaders = CallbackSet(rawValue: 1 << 3)
  public static let responseBody = CallbackSet(rawValue: 1 << 4)
  public static let responseTrailers = CallbackSet(rawValue: 1 << 5)
  public static let done = CallbackSet(rawValue: 1 << 6)
  public static let log = CallbackSet(rawValue: 1 << 7)
  public static let delete = CallbackSet(rawValue: 1 << 8)
  public static let contextCreate = CallbackSet(rawValue: 1 << 9)
  public static let tick = CallbackSet(rawValue: 1 << 10)

  private static let exportNames: [String: CallbackSet] = [
    "proxy_on_request_headers": .requestHeaders,
    "proxy_on_request_body": .requestBody,
    "proxy_on_request_trailers": .requestTrailers,
    "proxy_on_response_headers": .responseHeaders,
    "proxy_on_response_body": .responseBody,
    "proxy_on_response_trailers": .responseTrailers,
    "proxy_on_done": .done,
    "proxy_on_log": .log,
    "proxy_on_delete": .delete,
    "proxy_on_context_create": .contextCreate,
    "proxy_on_tick": .tick,
  ]

  /// The callbacks among a module's export names.
  public init(exports: some Sequence<String>) {
    self = exports.reduce(into: []) { set, name in
      if let callback = Self.exportNames[name] { set.insert(callback) }
    }
  }
}

/// What a worker is doing, as its status page shows it.
public enum CallbackKind: UInt16, Sendable, CaseIterable {
  case none = 0
  case vmStart = 1
  case configure = 2
  case requestHeaders = 3
  case responseHeaders = 4
  case streamDone = 5
  case tick = 6

  /// The Proxy-Wasm export that it runs, as operators know it.
  public var name: String {
    switch self {
    case .none: "none"
    case .vmStart: "proxy_on_vm_start"
    case .configure: "proxy_on_configure"
    case .requestHeaders: "proxy_on_request_headers"
    case .responseHeaders: "proxy_on_response_headers"
    case .streamDone: "proxy_on_log"
    case .tick: "proxy_on_tick"
    }
  }
}
