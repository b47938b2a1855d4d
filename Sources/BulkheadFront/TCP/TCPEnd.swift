import BulkheadChain
import BulkheadSystem
import Glibc
import NIOCore

/// One of the two sockets of a TCP connection through the front: the client's or the upstream's.
///
/// The one handler of its pipeline: bytes in, bytes out. One event loop.
final class TCPEnd: ChannelDuplexHandler, TCPPeer {
  typealias InboundIn = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  let side: TCPStream.Side
  /// Until the socket is closed: the stream is kept by its sockets and by the loop's slot.
  private var stream: TCPStream?
  private var context: ChannelHandlerContext?
  private(set) var isOpen = false
  private(set) var inputEnded = false
  private(set) var outputEnded = false
  private(set) var failure = ""
  private var gate = ReadGate()
  /// As its channel has said last: asking it each time costs a walk through it.
  private var mayWrite = true
  private var hasUnflushed = false
  private var isDiscarding = false

  init(side: TCPStream.Side, stream: TCPStream) {
    self.side = side
    self.stream = stream
  }

  var isWritable: Bool { mayWrite && context != nil }
  var remoteAddress: SocketAddress? { context?.channel.remoteAddress }
  var localAddress: SocketAddress? { context?.channel.localAddress }

  // MARK: For the stream

  func write(_ bytes: ByteBuffer) {
    guard isOpen, !outputEnded else { return }
    hasUnflushed = true
    context?.write(wrapOutboundOut(bytes), promise: nil)
  }

  func flush() {
    guard hasUnflushed else { return }
    hasUnflushed = false
    context?.flush()
  }

  func endOutput() { endOutput(whenWritten: nil) }

  private func endOutput(whenWritten: (() -> Void)?) {
    guard isOpen, !outputEnded, let context else {
      whenWritten?()
      return
    }
    outputEnded = true
    hasUnflushed = false
    context.flush()
    let written = context.eventLoop.makePromise(of: Void.self)
    written.futureResult.assumeIsolated().whenFailure { [self] in note($0) }
    if let whenWritten { written.futureResult.assumeIsolated().whenComplete { _ in whenWritten() } }
    context.close(mode: .output, promise: written)
  }

  func closeGently(whenWritten: @escaping () -> Void) {
    isDiscarding = true
    resumeReads()
    endOutput(whenWritten: whenWritten)
  }

  func close() { context?.close(promise: nil) }

  /// Closes now, and so that the peer sees that something went wrong: what it got is not the whole.
  func abort() {
    guard let context, isOpen else { return }
    let channel = context.channel
    guard let options = channel as? any SocketOptionProvider else { return close() }
    options.setSoLinger(linger(l_onoff: 1, l_linger: 0)).assumeIsolated().whenComplete { _ in
      channel.close(promise: nil)
    }
  }

  func suspendReads() { gate.close() }

  func resumeReads() {
    if gate.open() { context?.read() }
  }

  // MARK: Channel

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    isOpen = context.channel.isActive
  }

  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  func channelActive(context: ChannelHandlerContext) {
    isOpen = true
    if side == .client { stream?.begin() }
    context.fireChannelActive()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if !isDiscarding { stream?.received(unwrapInboundIn(data), from: side) }
  }

  func channelReadComplete(context: ChannelHandlerContext) { stream?.readIsComplete() }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if let event = event as? ChannelEvent, event == .inputClosed, !inputEnded {
      inputEnded = true
      if !isDiscarding { stream?.inputEnded(of: side) }
    }
    context.fireUserInboundEventTriggered(event)
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    mayWrite = context.channel.isWritable
    stream?.writabilityChanged()
  }

  func read(context: ChannelHandlerContext) {
    if gate.admits() { context.read() }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    note(error)
    context.close(promise: nil)
  }

  private func note(_ error: any Error) {
    if failure.isEmpty { failure = (error as? IOError).map { SystemError.reason($0.errnoCode) } ?? "\(error)" }
  }

  func channelInactive(context: ChannelHandlerContext) {
    guard isOpen else { return }
    isOpen = false
    let stream = self.stream
    self.stream = nil
    stream?.closed(side)
  }
}
