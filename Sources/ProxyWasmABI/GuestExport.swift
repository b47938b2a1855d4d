/// The functions of a plugin that a host calls, all of them optional but for one of the two allocators where the host
/// has to hand over bytes.
public enum GuestExport: Int, Sendable, CaseIterable {
  case initialize
  case start
  case main
  case mainVoid
  case memoryAllocate
  case malloc
  case contextCreate
  case vmStart
  case configure
  case requestHeaders
  case responseHeaders
  case done
  case log
  case delete
  case tick

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
    }
  }

  /// How many parameters it has, each an i32.
  public var parameters: Int {
    switch self {
    case .initialize, .start, .mainVoid: 0
    case .memoryAllocate, .malloc, .done, .log, .delete, .tick: 1
    case .main, .contextCreate, .vmStart, .configure: 2
    case .requestHeaders, .responseHeaders: 3
    }
  }

  /// Whether it gives an i32 back.
  public var hasResult: Bool {
    switch self {
    case .initialize, .start, .contextCreate, .log, .delete, .tick: false
    case .main, .mainVoid, .memoryAllocate, .malloc, .vmStart, .configure, .requestHeaders, .responseHeaders, .done:
      true
    }
  }
}
