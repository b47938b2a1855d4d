/// What a hostcall answers (`proxy_status_t`).
public enum Status: UInt32, Sendable, CaseIterable {
  /// It was done.
  case ok = 0
  /// There is no such header, property, key, queue or function.
  case notFound = 1
  /// An argument is no value that the ABI knows, or names nothing that can be acted upon now.
  case badArgument = 2
  /// A value could not be put into bytes.
  case serializationFailure = 3
  /// Bytes that the plugin gave could not be read.
  case parseFailure = 4
  /// An address and a length that are not within the guest's memory.
  case invalidMemoryAccess = 6
  /// A queue without a message.
  case empty = 7
  /// The entry of shared data has changed since it was read.
  case casMismatch = 8
  /// The host could not do it: a bound is reached, the policy does not allow it, or the front refused it.
  case internalFailure = 10
  /// The hostcall is known by name alone.
  case unimplemented = 12
}

/// What a callback about a part of a stream asks for with the number that it returns: `proxy_action_t`, and the filter
/// statuses of Envoy beyond it, which the SDKs for C++ and of Higress have. Any number is an action, as the reference
/// host reads it.
public enum Action: Sendable, Equatable {
  /// The stream goes on (`Continue`).
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
  /// Of the stream that the callback is about.
  case requestHeaders = 0
  case requestTrailers = 1
  case responseHeaders = 2
  case responseTrailers = 3
  /// Of the call out that the callback answers.
  case grpcCallInitialMetadata = 4
  case grpcCallTrailingMetadata = 5
  case httpCallResponseHeaders = 6
  case httpCallResponseTrailers = 7
}

/// The buffers (`proxy_buffer_type_t`).
public enum BufferType: UInt32, Sendable, CaseIterable {
  /// Of the stream that the callback is about.
  case requestBody = 0
  case responseBody = 1
  case downstreamData = 2
  case upstreamData = 3
  /// Of the call out that the callback answers.
  case httpCallResponseBody = 4
  case grpcCallMessage = 5
  /// Configuration, as the manifest has it: for `proxy_on_vm_start` and for `proxy_on_configure`.
  case vmConfiguration = 6
  case pluginConfiguration = 7
  /// What a foreign function is called with.
  case foreignFunctionArguments = 8
}

/// What `proxy_continue_stream` and `proxy_close_stream` act upon (`proxy_stream_type_t`).
public enum StreamType: UInt32, Sendable, CaseIterable {
  /// A direction of an HTTP stream.
  case request = 0
  case response = 1
  /// A side of a TCP connection.
  case downstream = 2
  case upstream = 3
}

/// The errors of WASI that hostcalls answer, in the numbers of `wasi_snapshot_preview1` (`wasi_unstable` has the same).
public enum WASIError: UInt32, Sendable, CaseIterable {
  /// It was done.
  case success = 0
  /// EBADF: no descriptor of that number; only 0 to 2 are there.
  case badDescriptor = 8
  /// EFAULT: an address and a length that are not within the guest's memory.
  case fault = 21
  /// EINVAL: more than one call may ask for.
  case invalid = 28
  /// ENOENT: there is no file of any name.
  case noEntry = 44
  /// ENOSYS.
  case notImplemented = 52
  /// ENOTSUP: not for this clock.
  case notSupported = 58
  /// ESPIPE: the standard descriptors have no position.
  case illegalSeek = 70
  /// ENOTCAPABLE: the policy does not allow it.
  case notCapable = 76
}
