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

/// What a callback about a part of a stream asks for with the number that it returns: `proxy_action_t`, and the filter
/// statuses of Envoy beyond it, which the SDKs for C++ and of Higress have. Any number is an action, as the reference
/// host reads it.
public enum Action: Sendable, Equatable {
  case proceed
  /// What the callback was about waits until the plugin resumes it. Of a head: no callback of its body comes meanwhile
  /// (`Pause`, `StopAllIterationAndBuffer`, `StopAllIterationAndWatermark`). Of a piece of a body: the callback about the next
  /// piece is shown both (`StopIterationAndBuffer`).
  case pause
  /// Of a head: it waits and can be changed, the callbacks of its body come, and the first of them that goes on lets both go
  /// (`StopIteration`).
  case stopIteration
  /// Of a piece of a body: it waits and is not shown again (`StopIterationAndWatermark`).
  case watermark
  /// Of a piece of a body: it is dropped (`StopIterationNoBuffer`).
  case noBuffer

  /// What a callback about headers returned.
  ///
  /// - Parameter stopsIteration: 1 is `StopIteration`, as the plugin's dialect or its manifest says; else it is a `Pause`.
  public init(headers returned: UInt32, stopsIteration: Bool) {
    self =
      switch returned {
      // 2 is `ContinueAndEndStream`: a message goes on, and ends where it ends.
      case 0, 2: .proceed
      case 1: stopsIteration ? .stopIteration : .pause
      default: .pause
      }
  }

  /// What a callback about a piece of a body returned.
  public init(body returned: UInt32) {
    self =
      switch returned {
      case 0: .proceed
      case 1: .pause
      case 2: .watermark
      default: .noBuffer
      }
  }

  /// What a callback about trailers, or of a connection, returned.
  public init(other returned: UInt32) { self = returned == 0 ? .proceed : .pause }
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
