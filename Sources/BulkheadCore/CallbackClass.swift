/// The kinds of callbacks that a crash policy has deadlines for.
public enum CallbackClass: String, Sendable, CaseIterable {
  /// Headers and trailers, and a connection's beginning.
  case headers
  /// Bodies, and the data of a connection with its end.
  case body
  /// `on_done`, `on_log`, `on_delete`.
  case log
  /// `on_tick`, and everything else that is for the plugin itself: answers of calls, queues.
  case tick
  /// `on_vm_start` and `on_configure`.
  case configure
}

extension CallbackKind {
  /// Whose deadline it has.
  @inlinable
  public var deadlineClass: CallbackClass {
    switch self {
    case .requestHeaders, .responseHeaders, .requestTrailers, .responseTrailers, .newConnection: .headers
    case .requestBody, .responseBody, .downstreamData, .upstreamData, .downstreamClose, .upstreamClose: .body
    case .streamDone: .log
    case .none, .tick, .httpCallResponse, .grpcInitialMetadata, .grpcMessage, .grpcTrailingMetadata, .grpcClose,
      .queueReady:
      .tick
    case .vmStart, .configure: .configure
    }
  }
}
