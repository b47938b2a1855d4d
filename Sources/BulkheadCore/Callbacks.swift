/// The callbacks of Proxy-Wasm that a module may export and Bulkhead may make.
public struct CallbackSet: OptionSet, Sendable, Hashable {
  public let rawValue: UInt32
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// It exports `proxy_on_request_headers`.
  public static let requestHeaders = CallbackSet(rawValue: 1 << 0)
  /// It exports `proxy_on_request_body`.
  public static let requestBody = CallbackSet(rawValue: 1 << 1)
  /// It exports `proxy_on_request_trailers`.
  public static let requestTrailers = CallbackSet(rawValue: 1 << 2)
  /// It exports `proxy_on_response_headers`.
  public static let responseHeaders = CallbackSet(rawValue: 1 << 3)
  /// It exports `proxy_on_response_body`.
  public static let responseBody = CallbackSet(rawValue: 1 << 4)
  /// It exports `proxy_on_response_trailers`.
  public static let responseTrailers = CallbackSet(rawValue: 1 << 5)
  /// It exports `proxy_on_done`.
  public static let done = CallbackSet(rawValue: 1 << 6)
  /// It exports `proxy_on_log`.
  public static let log = CallbackSet(rawValue: 1 << 7)
  /// It exports `proxy_on_delete`.
  public static let delete = CallbackSet(rawValue: 1 << 8)
  /// It exports `proxy_on_context_create`.
  public static let contextCreate = CallbackSet(rawValue: 1 << 9)
  /// It exports `proxy_on_tick`.
  public static let tick = CallbackSet(rawValue: 1 << 10)
  /// It exports `proxy_on_new_connection`.
  public static let newConnection = CallbackSet(rawValue: 1 << 11)
  /// It exports `proxy_on_downstream_data`.
  public static let downstreamData = CallbackSet(rawValue: 1 << 12)
  /// It exports `proxy_on_upstream_data`.
  public static let upstreamData = CallbackSet(rawValue: 1 << 13)
  /// It exports `proxy_on_downstream_connection_close`.
  public static let downstreamClose = CallbackSet(rawValue: 1 << 14)
  /// It exports `proxy_on_upstream_connection_close`.
  public static let upstreamClose = CallbackSet(rawValue: 1 << 15)
  /// It exports `proxy_on_http_call_response`.
  public static let httpCallResponse = CallbackSet(rawValue: 1 << 16)
  /// It exports `proxy_on_grpc_receive_initial_metadata`.
  public static let grpcInitialMetadata = CallbackSet(rawValue: 1 << 17)
  /// It exports `proxy_on_grpc_receive`.
  public static let grpcMessage = CallbackSet(rawValue: 1 << 18)
  /// It exports `proxy_on_grpc_receive_trailing_metadata`.
  public static let grpcTrailingMetadata = CallbackSet(rawValue: 1 << 19)
  /// It exports `proxy_on_grpc_close`.
  public static let grpcClose = CallbackSet(rawValue: 1 << 20)
  /// It exports `proxy_on_queue_ready`.
  public static let queueReady = CallbackSet(rawValue: 1 << 21)
  /// It exports `proxy_on_foreign_function`.
  public static let foreignFunction = CallbackSet(rawValue: 1 << 22)

  /// What an HTTP stream is told.
  public static let http: CallbackSet = [
    .requestHeaders, .requestBody, .requestTrailers, .responseHeaders, .responseBody, .responseTrailers,
  ]
  /// What a TCP connection is told.
  public static let network: CallbackSet = [
    .newConnection, .downstreamData, .upstreamData, .downstreamClose, .upstreamClose,
  ]
  /// What a stream of either kind is told when it is over.
  public static let streamEnd: CallbackSet = [.done, .log, .delete]

  /// The names of the exports, in the order of their bits.
  static let exportNames: [(name: String, callback: CallbackSet)] = [
    ("proxy_on_request_headers", .requestHeaders),
    ("proxy_on_request_body", .requestBody),
    ("proxy_on_request_trailers", .requestTrailers),
    ("proxy_on_response_headers", .responseHeaders),
    ("proxy_on_response_body", .responseBody),
    ("proxy_on_response_trailers", .responseTrailers),
    ("proxy_on_done", .done),
    ("proxy_on_log", .log),
    ("proxy_on_delete", .delete),
    ("proxy_on_context_create", .contextCreate),
    ("proxy_on_tick", .tick),
    ("proxy_on_new_connection", .newConnection),
    ("proxy_on_downstream_data", .downstreamData),
    ("proxy_on_upstream_data", .upstreamData),
    ("proxy_on_downstream_connection_close", .downstreamClose),
    ("proxy_on_upstream_connection_close", .upstreamClose),
    ("proxy_on_http_call_response", .httpCallResponse),
    ("proxy_on_grpc_receive_initial_metadata", .grpcInitialMetadata),
    ("proxy_on_grpc_receive", .grpcMessage),
    ("proxy_on_grpc_receive_trailing_metadata", .grpcTrailingMetadata),
    ("proxy_on_grpc_close", .grpcClose),
    ("proxy_on_queue_ready", .queueReady),
    ("proxy_on_foreign_function", .foreignFunction),
  ]

  /// The callbacks among a module's export names.
  public init(exports: some Sequence<String>) {
    let names = Set(exports)
    self = Self.exportNames.reduce(into: []) { set, entry in
      if names.contains(entry.name) { set.insert(entry.callback) }
    }
  }

  /// The callback of that export name; nil where there is none.
  public init?(export name: String) {
    guard let entry = Self.exportNames.first(where: { $0.name == name }) else { return nil }
    self = entry.callback
  }

  /// The export names of the callbacks, in the order of their bits.
  public var names: [String] { Self.exportNames.filter { contains($0.callback) }.map(\.name) }
}

/// What a worker is doing, as its status page shows it, and what a callback record asks for.
public enum CallbackKind: UInt16, Sendable, CaseIterable {
  /// No callback runs.
  case none = 0
  /// The start of a VM and of its plugin.
  case vmStart = 1
  case configure = 2
  /// An HTTP stream, in either direction.
  case requestHeaders = 3
  case responseHeaders = 4
  /// A stream of either kind is over.
  case streamDone = 5
  /// The plugin's timer.
  case tick = 6
  /// Bodies and trailers of an HTTP stream.
  case requestBody = 7
  case requestTrailers = 8
  case responseBody = 9
  case responseTrailers = 10
  /// A TCP connection.
  case newConnection = 11
  case downstreamData = 12
  case upstreamData = 13
  case downstreamClose = 14
  case upstreamClose = 15
  /// Answers to calls out.
  case httpCallResponse = 16
  case grpcInitialMetadata = 17
  case grpcMessage = 18
  case grpcTrailingMetadata = 19
  case grpcClose = 20
  /// A message waits in a queue.
  case queueReady = 21

  /// What a number that a process reports stands for, for people; one that stands for nothing is shown as that number.
  public static func name(of number: UInt16) -> String { Self(rawValue: number)?.name ?? "unknown (\(number))" }

  /// Who a callback is about.
  public enum Subject: Sendable {
    /// Nothing that travels on a ring.
    case worker
    /// An HTTP request with its response.
    case httpStream
    /// A TCP connection.
    case connection
    /// A stream of either kind that is over.
    case anyStream
    /// The plugin itself: its root context.
    case root
  }

  /// What the callback is about.
  @inlinable
  public var subject: Subject {
    switch self {
    case .none, .vmStart, .configure, .tick: .worker
    case .requestHeaders, .responseHeaders, .requestBody, .requestTrailers, .responseBody, .responseTrailers:
      .httpStream
    case .newConnection, .downstreamData, .upstreamData, .downstreamClose, .upstreamClose: .connection
    case .streamDone: .anyStream
    case .httpCallResponse, .grpcInitialMetadata, .grpcMessage, .grpcTrailingMetadata, .grpcClose, .queueReady: .root
    }
  }

  /// Whether it is about what comes from the upstream.
  @inlinable
  public var isFromUpstream: Bool {
    switch self {
    case .responseHeaders, .responseBody, .responseTrailers, .upstreamData, .upstreamClose: true
    default: false
    }
  }

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
    case .requestBody: "proxy_on_request_body"
    case .requestTrailers: "proxy_on_request_trailers"
    case .responseBody: "proxy_on_response_body"
    case .responseTrailers: "proxy_on_response_trailers"
    case .newConnection: "proxy_on_new_connection"
    case .downstreamData: "proxy_on_downstream_data"
    case .upstreamData: "proxy_on_upstream_data"
    case .downstreamClose: "proxy_on_downstream_connection_close"
    case .upstreamClose: "proxy_on_upstream_connection_close"
    case .httpCallResponse: "proxy_on_http_call_response"
    case .grpcInitialMetadata: "proxy_on_grpc_receive_initial_metadata"
    case .grpcMessage: "proxy_on_grpc_receive"
    case .grpcTrailingMetadata: "proxy_on_grpc_receive_trailing_metadata"
    case .grpcClose: "proxy_on_grpc_close"
    case .queueReady: "proxy_on_queue_ready"
    }
  }
}
