/// What came for a call out, while the callback that tells of it runs: buffers 4 and 5, maps 4 to 7 and the status, in
/// whatever context the plugin reads them. One thread.
final class RootAnswer {
  /// Of the answer to a call, and of the running callback; borrowed from its record.
  var httpBody: UnsafeRawBufferPointer?
  var grpcMessage: UnsafeRawBufferPointer?
  let httpHeaders: HeaderMap
  let httpTrailers: HeaderMap
  let grpcInitialMetadata: HeaderMap
  let grpcTrailingMetadata: HeaderMap
  /// What `proxy_get_status` gives. The code stays until there is another; the message goes with its callback.
  private(set) var statusCode: UInt32 = 0
  private(set) var statusMessage: [UInt8] = []
  /// Whether a callback runs that tells of a call.
  private(set) var isRunning = false

  /// - Parameter spare: the plugin's.
  init(_ spare: SpareMemory) {
    httpHeaders = HeaderMap(spare)
    httpTrailers = HeaderMap(spare)
    grpcInitialMetadata = HeaderMap(spare)
    grpcTrailingMetadata = HeaderMap(spare)
  }

  func begin() { isRunning = true }

  func setStatus(_ code: UInt32, _ message: some Sequence<UInt8>) {
    statusCode = code
    statusMessage = Array(message)
  }

  /// The callback is over.
  func end() {
    isRunning = false
    httpBody = nil
    grpcMessage = nil
    for map in [httpHeaders, httpTrailers, grpcInitialMetadata, grpcTrailingMetadata] where map.isAvailable {
      map.clear()
    }
    if !statusMessage.isEmpty { statusMessage = [] }
  }
}
