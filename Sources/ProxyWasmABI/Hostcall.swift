/// The functions that a plugin can import from `env`: the hostcalls of ABI 0.1.0, 0.2.0 and 0.2.1, whichever the module
/// is built for, the one of Emscripten that its standalone modules import, and those that Higress added.
public enum Hostcall: UInt32, Sendable, CaseIterable {
  /// Logs and clocks.
  case log = 0
  case getLogLevel = 1
  case getCurrentTimeNanoseconds = 2
  case setTickPeriodMilliseconds = 3
  /// Bodies, data of connections, answers and configurations, by `BufferType`.
  case getBufferBytes = 4
  case getBufferStatus = 5
  case setBufferBytes = 6
  /// Headers, trailers and metadata, by `MapType`.
  case getHeaderMapSize = 7
  case getHeaderMapPairs = 8
  case setHeaderMapPairs = 9
  case getHeaderMapValue = 10
  case addHeaderMapValue = 11
  case replaceHeaderMapValue = 12
  case removeHeaderMapValue = 13
  /// The way of a stream: it goes on, ends, or is answered by the plugin.
  case continueStream = 14
  case closeStream = 15
  /// How the gRPC call that a callback is about ended.
  case getStatus = 16
  /// An answer from the plugin in place of the upstream's.
  case sendLocalResponse = 17
  /// What the host knows of a stream.
  case getProperty = 18
  case setProperty = 19
  /// Contexts: the plugin is done with the effective one, or acts upon another.
  case done = 20
  case setEffectiveContext = 21
  /// Calls out.
  case httpCall = 22
  case grpcCall = 23
  case grpcStream = 24
  case grpcSend = 25
  case grpcCancel = 26
  case grpcClose = 27
  /// Shared data and queues of one vm_id.
  case setSharedData = 28
  case getSharedData = 29
  case registerSharedQueue = 30
  case resolveSharedQueue = 31
  case enqueueSharedQueue = 32
  case dequeueSharedQueue = 33
  /// Metrics.
  case defineMetric = 34
  case recordMetric = 35
  case incrementMetric = 36
  case getMetric = 37
  /// A function that only some hosts have, by its name.
  case callForeignFunction = 38
  /// Routes are chosen anew by the headers as they are now; there are none to choose here.
  case clearRouteCache = 39
  /// ABI 0.1.0 alone: later ones have buffers and `proxy_continue_stream` for it.
  case getConfiguration = 40
  case continueRequest = 41
  case continueResponse = 42
  /// Emscripten: the guest's memory has grown.
  case notifyMemoryGrowth = 43
  /// Higress: Redis, which is known by name alone.
  case redisInit = 44
  case redisCall = 45
  /// Higress: bytes for the filters behind this one; known by name alone.
  case injectEncodedData = 46
  /// Higress: the endpoints of the upstream, and the choice of one.
  case getUpstreamHosts = 47
  case setUpstreamOverrideHost = 48

  /// Those that the text of ABI 0.1.0 has without a result.
  public static let withoutResult: [Hostcall] = [.continueRequest, .continueResponse, .clearRouteCache]

  /// The name of the import module.
  public static let module = "env"

  /// The name of the import.
  public var name: String { Self.rows[Int(rawValue)].name }

  /// The type that a module must import it with.
  public var signature: Signature { Signature(Self.rows[Int(rawValue)].signature) }

  /// False where it is known by name alone: it links, and answers `Status.unimplemented`.
  public var isImplemented: Bool { Self.rows[Int(rawValue)].isImplemented }

  /// The hostcall of that name, or nil where the ABI has none.
  public init?(name: String) {
    guard let call = Self.allCases.first(where: { $0.name == name }) else { return nil }
    self = call
  }

  /// One a case, in their order.
  private static let rows: [(name: String, signature: StaticString, isImplemented: Bool)] = [
    ("proxy_log", "iii:i", true),
    ("proxy_get_log_level", "i:i", true),
    ("proxy_get_current_time_nanoseconds", "i:i", true),
    ("proxy_set_tick_period_milliseconds", "i:i", true),
    ("proxy_get_buffer_bytes", "iiiii:i", true),
    ("proxy_get_buffer_status", "iii:i", true),
    ("proxy_set_buffer_bytes", "iiiii:i", true),
    ("proxy_get_header_map_size", "ii:i", true),
    ("proxy_get_header_map_pairs", "iii:i", true),
    ("proxy_set_header_map_pairs", "iii:i", true),
    ("proxy_get_header_map_value", "iiiii:i", true),
    ("proxy_add_header_map_value", "iiiii:i", true),
    ("proxy_replace_header_map_value", "iiiii:i", true),
    ("proxy_remove_header_map_value", "iii:i", true),
    ("proxy_continue_stream", "i:i", true),
    ("proxy_close_stream", "i:i", true),
    ("proxy_get_status", "iii:i", true),
    ("proxy_send_local_response", "iiiiiiii:i", true),
    ("proxy_get_property", "iiii:i", true),
    ("proxy_set_property", "iiii:i", true),
    ("proxy_done", ":i", true),
    ("proxy_set_effective_context", "i:i", true),
    ("proxy_http_call", "iiiiiiiiii:i", true),
    ("proxy_grpc_call", "iiiiiiiiiiii:i", true),
    ("proxy_grpc_stream", "iiiiiiiii:i", true),
    ("proxy_grpc_send", "iiii:i", true),
    ("proxy_grpc_cancel", "i:i", true),
    ("proxy_grpc_close", "i:i", true),
    ("proxy_set_shared_data", "iiiii:i", true),
    ("proxy_get_shared_data", "iiiii:i", true),
    ("proxy_register_shared_queue", "iii:i", true),
    ("proxy_resolve_shared_queue", "iiiii:i", true),
    ("proxy_enqueue_shared_queue", "iii:i", true),
    ("proxy_dequeue_shared_queue", "iii:i", true),
    ("proxy_define_metric", "iiii:i", true),
    ("proxy_record_metric", "iI:i", true),
    ("proxy_increment_metric", "iI:i", true),
    ("proxy_get_metric", "ii:i", true),
    ("proxy_call_foreign_function", "iiiiii:i", true),
    ("proxy_clear_route_cache", ":i", true),
    ("proxy_get_configuration", "ii:i", true),
    ("proxy_continue_request", ":i", true),
    ("proxy_continue_response", ":i", true),
    ("emscripten_notify_memory_growth", "i:", true),
    ("proxy_redis_init", "iiiiiii:i", false),
    ("proxy_redis_call", "iiiii:i", false),
    ("proxy_inject_encoded_data_to_filter_chain", "iii:i", false),
    ("proxy_get_upstream_hosts", "ii:i", true),
    ("proxy_set_upstream_override_host", "ii:i", true),
  ]
}
