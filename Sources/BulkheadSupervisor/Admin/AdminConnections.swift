import NIOCore
import Synchronization

/// The connections of the admin listener, bounded in number, time and requests: strangers who hold theirs make room for
/// whoever comes, so that slow ones keep nobody out.
final class AdminConnections: Sendable {
  /// The most at a time. One more puts an end to the oldest that has not asked yet, else to the oldest.
  static let maximum = 32
  /// The longest from the connect to the end of the answer.
  static let lifetime = TimeAmount.seconds(15)
  /// The most pieces of requests on one connection: heads, bodies and ends.
  static let maximumParts = 32

  private struct Entry {
    var number: UInt64
    var channel: any Channel
    var hasAsked = false
  }

  private struct State {
    var next: UInt64 = 0
    /// The oldest first.
    var entries: [Entry] = []
  }

  private let state = Mutex(State())

  /// A handler for one more connection.
  func handler() -> any RemovableChannelHandler { AdminConnectionHandler(self) }

  /// Takes one more.
  ///
  /// - Returns: its number, and whom it takes the place of.
  fileprivate func add(_ channel: any Channel) -> (number: UInt64, evicted: (any Channel)?) {
    state.withLock { state in
      var evicted: (any Channel)?
      if state.entries.count >= Self.maximum {
        let index = state.entries.firstIndex { !$0.hasAsked } ?? 0
        evicted = state.entries.remove(at: index).channel
      }
      state.next += 1
      state.entries.append(Entry(number: state.next, channel: channel))
      return (state.next, evicted)
    }
  }

  fileprivate func hasAsked(_ number: UInt64) {
    state.withLock { state in
      guard let index = state.entries.firstIndex(where: { $0.number == number }) else { return }
      state.entries[index].hasAsked = true
    }
  }

  fileprivate func remove(_ number: UInt64) {
    state.withLock { state in state.entries.removeAll { $0.number == number } }
  }
}

/// Bounds one connection. It lives on its channel's event loop.
private final class AdminConnectionHandler: ChannelInboundHandler, RemovableChannelHandler {
  typealias InboundIn = NIOAny

  private let connections: AdminConnections
  private var number: UInt64 = 0
  private var parts = 0
  private var end: Scheduled<Void>?

  init(_ connections: AdminConnections) { self.connections = connections }

  func handlerAdded(context: ChannelHandlerContext) {
    let channel = context.channel
    let (number, evicted) = connections.add(channel)
    self.number = number
    evicted?.close(promise: nil)
    end = context.eventLoop.scheduleTask(in: AdminConnections.lifetime) { channel.close(promise: nil) }
    let connections = connections
    channel.closeFuture.whenComplete { _ in connections.remove(number) }
  }

  func handlerRemoved(context: ChannelHandlerContext) { end?.cancel() }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if parts == 0 { connections.hasAsked(number) }
    parts += 1
    guard parts <= AdminConnections.maximumParts else { return context.close(promise: nil) }
    context.fireChannelRead(data)
  }
}
