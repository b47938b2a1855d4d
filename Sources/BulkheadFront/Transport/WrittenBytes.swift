import NIOCore

extension ByteBuffer {
  /// Empties a buffer whose bytes were written to a channel and flushed.
  ///
  /// - Returns: whether the channel still holds on to them, since its socket took no more. Each such write keeps a buffer
  ///   of this one's capacity, however few its bytes are: who writes little by little waits until they are gone.
  mutating func clearWritten() -> Bool {
    guard readableBytes > 0 else { return false }
    let before = withVeryUnsafeBytes { $0.baseAddress }
    // A buffer that is nobody else's is kept; one that is shared is left to the other.
    clear()
    return withVeryUnsafeBytes { $0.baseAddress } != before
  }
}

extension ChannelHandlerContext {
  /// Calls `body` on the event loop once all that was written so far is with the kernel, or the channel has ended.
  func whenWritten(_ body: @escaping () -> Void) {
    let promise = eventLoop.makePromise(of: Void.self)
    promise.futureResult.assumeIsolated().whenComplete { _ in body() }
    writeAndFlush(NIOAny(ByteBuffer()), promise: promise)
  }
}
