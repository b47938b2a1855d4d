import NIOCore
import Synchronization

/// The connections of members of `control.group`: a part of those that there are, so that who may change something always
/// finds one.
final class ReaderConnections: Sendable {
  /// The most at a time; one more is closed as it comes. Fewer than there are, and than may wait for events.
  static let maximum = 24

  private let rights: ControlRights
  private let count = Mutex(0)

  init(_ rights: ControlRights) { self.rights = rights }

  /// A handler for one more connection.
  func handler() -> any RemovableChannelHandler { ReaderConnectionHandler(self) }

  /// A connection has come: closes it where it is one too many.
  fileprivate func admit(_ channel: any Channel) {
    guard rights.readers != nil else { return }
    ControlPeer.ask(channel)?.whenSuccess { [self] peer in
      guard rights.isReader(peer.uid) else { return }
      let isAdmitted = count.withLock { count in
        guard count < Self.maximum else { return false }
        count += 1
        return true
      }
      guard isAdmitted else { return channel.close(promise: nil) }
      channel.closeFuture.whenComplete { [self] _ in count.withLock { $0 -= 1 } }
    }
  }
}

/// Tells of its connection. It lives on its channel's event loop.
private final class ReaderConnectionHandler: ChannelInboundHandler, RemovableChannelHandler {
  typealias InboundIn = NIOAny

  private let connections: ReaderConnections

  init(_ connections: ReaderConnections) { self.connections = connections }

  func handlerAdded(context: ChannelHandlerContext) { connections.admit(context.channel) }
}
