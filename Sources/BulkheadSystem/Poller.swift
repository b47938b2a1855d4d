import CBulkheadSys
import Synchronization

/// One thread's event loop over epoll: descriptors with closures, and closures that other threads post.
///
/// Everything but `mailbox` belongs to the thread that made it.
public final class Poller {
  /// What happened to a descriptor, or is waited for.
  public struct Events: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }

    /// There is something to read, or the other end is gone (EPOLLIN).
    public static let readable = Events(rawValue: 0x001)
    /// There is room to write (EPOLLOUT).
    public static let writable = Events(rawValue: 0x004)
    /// Reported whether waited for or not.
    public static let error = Events(rawValue: 0x008)
    /// Reported whether waited for or not.
    public static let hangUp = Events(rawValue: 0x010)
  }

  /// One registration, until it is removed.
  public struct Token: Hashable, Sendable { let value: UInt64 }

  private let epoll: Descriptor
  private var handlers: [UInt64: (raw: Int32, handler: (Events) -> Void)] = [:]
  private var nextToken: UInt64 = 1
  /// Where other threads post work for this loop.
  public let mailbox: Mailbox

  /// - Throws: `SystemError` where the process has no descriptors left.
  public init() throws(SystemError) {
    epoll = Descriptor(owning: try Funnel.descriptor("make an epoll") { bh_epoll_create() })
    mailbox = try Mailbox()
    // Token 0 is the mailbox; registrations start at 1.
    try control(BH_EPOLL_ADD, mailbox.raw, .readable, token: 0)
  }

  /// Calls `handler` on each event of the descriptor, level-triggered, until the registration is removed. The descriptor
  /// stays the caller's, who removes the registration before closing it.
  ///
  /// - Throws: `SystemError`: EEXIST where it is registered already, EPERM for files that cannot be polled.
  public func add(
    _ raw: Int32, _ events: Events = .readable, _ handler: @escaping (Events) -> Void
  ) throws(SystemError) -> Token {
    let token = nextToken
    try control(BH_EPOLL_ADD, raw, events, token: token)
    nextToken += 1
    handlers[token] = (raw, handler)
    return Token(value: token)
  }

  /// Waits for other events from now on; nothing where the registration is gone.
  ///
  /// - Throws: `SystemError` where the descriptor was closed before its registration was removed.
  public func modify(_ token: Token, _ events: Events) throws(SystemError) {
    guard let entry = handlers[token.value] else { return }
    try control(BH_EPOLL_MODIFY, entry.raw, events, token: token.value)
  }

  /// Ends a registration; its handler is not called again, not even for events that were collected already.
  public func remove(_ token: Token) {
    guard let entry = handlers.removeValue(forKey: token.value) else { return }
    _ = bh_epoll_control(epoll.raw, BH_EPOLL_REMOVE, entry.raw, 0, token.value)
  }

  /// Waits for events and handles them.
  ///
  /// - Parameters:
  ///   - timeoutMilliseconds: the longest that it waits; nil for ever, 0 not at all.
  ///   - whenAwake: called once, between the wait and the first handler.
  /// - Returns: how many handlers and posted closures ran.
  /// - Throws: `SystemError` where epoll fails.
  @discardableResult
  public func run(timeoutMilliseconds: Int? = nil, whenAwake: () -> Void = {}) throws(SystemError) -> Int {
    var events = [UInt32](repeating: 0, count: 64)
    var tokens = [UInt64](repeating: 0, count: 64)
    let raw = epoll.raw
    let timeout = timeoutMilliseconds.map { Int32(clamping: max($0, 0)) } ?? -1
    let ready = Int(
      try Funnel.call("wait for events") { bh_epoll_wait(raw, &events, &tokens, 64, timeout) })
    whenAwake()
    var handled = 0
    for index in 0..<min(ready, events.count) {
      let token = tokens[index]
      if token == 0 {
        for work in mailbox.take() {
          work()
          handled += 1
        }
      } else if let entry = handlers[token] {
        entry.handler(Events(rawValue: events[index]))
        handled += 1
      }
    }
    return handled
  }

  private func control(_ operation: Int32, _ raw: Int32, _ events: Events, token: UInt64) throws(SystemError) {
    let number = epoll.raw
    try Funnel.call("watch", on: "descriptor \(raw)") {
      bh_epoll_control(number, operation, raw, events.rawValue, token)
    }
  }

  /// Takes closures from any thread and runs them on the loop's.
  public final class Mailbox: Sendable {
    private let bell: EventDescriptor
    private let posted = Mutex<[@Sendable () -> Void]>([])

    init() throws(SystemError) { bell = try EventDescriptor() }

    var raw: Int32 { bell.descriptor.raw }

    /// Runs `work` on the loop's thread, after what was posted before. Any thread may call it.
    public func post(_ work: @escaping @Sendable () -> Void) {
      posted.withLock { $0.append(work) }
      bell.signal()
    }

    func take() -> [@Sendable () -> Void] {
      bell.drain()
      return posted.withLock { work in
        defer { work = [] }
        return work
      }
    }
  }
}

/// Signals that arrive as reads: they are blocked in the calling thread, and in all threads that it starts afterwards.
public struct SignalDescriptor: ~Copyable, Sendable {
  /// The signalfd.
  public let descriptor: Descriptor

  /// A signal that arrived.
  public struct Arrival: Equatable, Sendable {
    /// Its number.
    public var signal: Int32
    /// The sender's pid; 0 where the kernel sent it.
    public var sender: Int32
  }

  /// Blocks the signals and takes them in here instead. To be called before other threads start.
  ///
  /// - Throws: `SystemError` where the process has no descriptors left.
  public init(_ signals: [Int32]) throws(SystemError) {
    descriptor = Descriptor(
      owning: try Funnel.descriptor("take in signals") { bh_signalfd(signals, signals.count) })
  }

  /// The next signal, or nil where none waits.
  ///
  /// - Throws: `SystemError` where the descriptor cannot be read.
  public borrowing func next() throws(SystemError) -> Arrival? {
    let raw = descriptor.raw
    var sender: Int32 = 0
    let signal = try Funnel.unlessWaiting("read a signal") { bh_signalfd_read(raw, &sender) }
    return signal.map { Arrival(signal: Int32(truncatingIfNeeded: $0), sender: sender) }
  }
}
