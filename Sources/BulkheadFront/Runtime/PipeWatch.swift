import NIOCore
import NIOPosix

/// Watches a descriptor that somebody writes to or closes, in an event loop's selector.
enum PipeWatch {
  enum Event {
    case opened(any Channel)
    /// Something was written; it is read and thrown away.
    case bytes
    /// The other end is closed, or the descriptor cannot be watched.
    case end
  }

  /// Takes the descriptor over. `handler` is called on the event loop.
  static func open(_ descriptor: Int32, on eventLoop: any EventLoop, handler: @escaping @Sendable (Event) -> Void) {
    NIOPipeBootstrap(group: eventLoop)
      .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 64))
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(Handler(handler))
        }
      }
      .takingOwnershipOfDescriptor(input: descriptor)
      .whenComplete { result in
        switch result {
        case .success(let channel): handler(.opened(channel))
        case .failure: handler(.end)
        }
      }
  }

  private final class Handler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    private let handler: @Sendable (Event) -> Void

    init(_ handler: @escaping @Sendable (Event) -> Void) { self.handler = handler }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) { handler(.bytes) }
    func channelInactive(context: ChannelHandlerContext) { handler(.end) }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
  }
}
