/// The functions of a plugin that a host calls, all of them optional but for one of the two allocators where the host
/// has to hand over bytes.
public enum GuestExport: Int, Sendable, CaseIterable {
  /// What a module does at its start: `_initialize` and then one of the two mains, or `_start` where there is no
  /// `_initialize`.
  case initialize
  case start
  case main
  case mainVoid
  /// The allocators: either may be the only one.
  case memoryAllocate
  case malloc
  /// The life of a VM, a plugin and a stream: contexts, start, configuration, end.
  case contextCreate
  case vmStart
  /// Pieces of an HTTP message, in both directions.
  case configure
  case requestHeaders
  /// The end of a stream: whether the plugin is done with it, then its line of log, then its context goes.
  case responseHeaders
  case done
  case log
  /// The plugin's timer.
  case delete
  /// Bodies and trailers of an HTTP message.
  case tick
  case requestBody
  case requestTrailers
  case responseBody
  /// A TCP connection: its beginning, its bytes and its ends.
  case responseTrailers
  case newConnection
  case downstreamData
  case upstreamData
  case downstreamClose
  /// Answers to the plugin's own calls out.
  case upstreamClose
  case httpCallResponse
  case grpcInitialMetadata
  case grpcMessage
  case grpcTrailingMetadata
  /// A message waits in a queue that the plugin registered.
  case grpcClose
  /// A call from the host that the specification does not name; Bulkhead makes none.
  case queueReady
  case foreignFunction

  /// The name of the export.
  public var name: String {
    switch self {
    case .initialize: "_initialize"
    case .start: "_start"
    case .main: "main"
    case .mainVoid: "__main_void"
    case .memoryAllocate: "proxy_on_memory_allocate"
    case .malloc: "malloc"
    case .contextCreate: "proxy_on_context_create"
    case .vmStart: "proxy_on_vm_start"
    case .configure: "proxy_on_configure"
    case .requestHeaders: "proxy_on_request_headers"
    case .responseHeaders: "proxy_on_response_headers"
    case .done: "proxy_on_done"
    case .log: "proxy_on_log"
    case .delete: "proxy_on_delete"
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
    case .foreignFunction: "proxy_on_foreign_function"
    }
  }

  /// How many parameters it has, each an i32.
  public func parameters(in abi: ABIVersion) -> Int {
    switch self {
    case .requestHeaders where !abi.headersTellEndOfStream, .responseHeaders where !abi.headersTellEndOfStream: 2
    case .initialize, .start, .mainVoid: 0
    case .memoryAllocate, .malloc, .done, .log, .delete, .tick, .newConnection: 1
    case .main, .contextCreate, .vmStart, .configure, .requestTrailers, .responseTrailers, .downstreamClose,
      .upstreamClose, .queueReady:
      2
    case .requestHeaders, .responseHeaders, .requestBody, .responseBody, .downstreamData, .upstreamData,
      .grpcInitialMetadata, .grpcMessage, .grpcTrailingMetadata, .grpcClose, .foreignFunction:
      3
    case .httpCallResponse: 5
    }
  }

  /// Whether it gives an i32 back.
  public var hasResult: Bool {
    switch self {
    case .initialize, .start, .contextCreate, .log, .delete, .tick, .downstreamClose, .upstreamClose,
      .httpCallResponse, .grpcInitialMetadata, .grpcMessage, .grpcTrailingMetadata, .grpcClose, .queueReady,
      .foreignFunction:
      false
    case .main, .mainVoid, .memoryAllocate, .malloc, .vmStart, .configure, .requestHeaders, .responseHeaders, .done,
      .requestBody, .requestTrailers, .responseBody, .responseTrailers, .newConnection, .downstreamData, .upstreamData:
      true
    }
  }
}
