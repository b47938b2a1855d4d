/// What a hostcall answers (`proxy_status_t`).
public enum Status: UInt32, Sendable, CaseIterable {
  case ok = 0
  case notFound = 1
  case badArgument = 2
  case serializationFailure = 3
  case parseFailure = 4
  case invalidMemoryAccess = 6
  case empty = 7
  case casMismatch = 8
  case internalFailure = 10
  case unimplemented = 12
}

/// What a headers callback returns (`proxy_action_t`).
///
/// The C++ SDK returns Envoy's own filter statuses, which go to 4; all but 0 hold the stream.
public enum Action: Sendable, Equatable {
  case proceed
  case pause

  /// Any number is an action.
  public init(returned: UInt32) { self = returned == 0 ? .proceed : .pause }
}

/// The header maps (`proxy_map_type_t`).
public enum MapType: UInt32, Sendable, CaseIterable {
  case requestHeaders = 0
  case requestTrailers = 1
  case responseHeaders = 2
  case responseTrailers = 3
  case grpcCallInitialMetadata = 4
  case grpcCallTrailingMetadata = 5
  case httpCallResponseHeaders = 6
  case httpCallResponseTrailers = 7
}

/// The buffers (`proxy_buffer_type_t`).
public enum BufferType: UInt32, Sendable, CaseIterable {
  case requestBody = 0
  case responseBody = 1
  case downstreamData = 2
  case upstreamData = 3
  case httpCallResponseBody = 4
  case grpcCallMessage = 5
  case vmConfiguration = 6
  case pluginConfiguration = 7
  case foreignFunctionArguments = 8
}

/// What `proxy_continue_stream` and `proxy_close_stream` act upon (`proxy_stream_type_t`).
public enum StreamType: UInt32, Sendable, CaseIterable {
  case request = 0
  case response = 1
  case downstream = 2
  case upstream = 3
}

/// The errors of WASI that hostcalls answer, in the numbers of `wasi_snapshot_preview1` (`wasi_unstable` has the same).
public enum WASIError: UInt32, Sendable, CaseIterable {
  case success = 0
  case badDescriptor = 8
  case fault = 21
  case invalid = 28
  case noEntry = 44
  case notImplemented = 52
  case notSupported = 58
  case illegalSeek = 70
  case notCapable = 76
}
