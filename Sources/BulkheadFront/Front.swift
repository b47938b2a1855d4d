import BulkheadChain
import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Glibc
import NIOConcurrencyHelpers
import NIOCore
import NIOPosix

/// The front proxy: accepts, runs the filter chain over rings, talks to upstreams.
public final class Front: Sendable {
  private let group: MultiThreadedEventLoopGroup
  private let shared: FrontGroup
  private let servers: NIOLockedValueBox<[any Channel]>
  private let log: FrontLog
  private let events: EventSink
  private let exit: NIOLockedValueBox<Int32?>
  private let finished: ConditionLock<Bool>
  private let control: Int32
  private let accessLog: AccessLogWriter?

  /// Why a front could not start.
  public struct StartError: Error, CustomStringConvertible {
    public var description: String
    /// Of `ExitCode`.
    public var exitCode: Int32
  }

  /// Starts a front in this process: when it returns, the listeners accept and `FrontEvent.serving` was sent.
  ///
  /// - Parameters:
  ///   - bootstrap: what to do.
  ///   - listeners: descriptors of listening sockets, one a listener of the bootstrap, in its order; taken over.
  ///   - control: descriptor of the SOCK_SEQPACKET socket to the supervisor; it stays the caller's, and must stay open
  ///     until `waitUntilFinished` has returned.
  ///   - report: descriptor of the report pipe, non-blocking; -1 for none. It stays the caller's.
  ///   - accessLog: descriptor of the access log's file, where the bootstrap asks for one; taken over.
  /// - Throws: `StartError` where the bootstrap does not fit the descriptors or itself, or a socket is none.
  public static func run(
    bootstrap: FrontBootstrap, listeners: [Int32], control: Int32, report: Int32, accessLog: Int32 = -1
  ) throws(StartError) -> Front {
    guard listeners.count == bootstrap.listeners.count else {
      throw StartError(
        description:
          "\(bootstrap.listeners.count) listeners are configured, \(listeners.count) sockets were handed over",
        exitCode: ExitCode.software)
    }
    let settings: FrontSettings
    do throws(FrontSettings.Problem) {
      settings = try FrontSettings(bootstrap)
    } catch {
      throw StartError(description: error.description, exitCode: ExitCode.software)
    }
    let state = SharedState(bootstrap)
    let chain: ChainSettings
    do throws(ChainSettings.Problem) {
      chain = try ChainSettings(bootstrap, generation: 0, shared: state)
    } catch {
      throw StartError(description: error.description, exitCode: ExitCode.software)
    }
    // Events are sent from event loops, which never wait; commands are awaited with poll().
    _ = fcntl(control, F_SETFL, fcntl(control, F_GETFL) | O_NONBLOCK)
    let front = Front(
      settings: settings, chain: chain, state: state, control: control, report: report, accessLog: accessLog)
    for (index, descriptor) in listeners.enumerated() {
      do {
        try front.listen(index, descriptor, settings)
      } catch {
        front.stop(code: ExitCode.unavailable)
        throw StartError(
          description: "listener \(bootstrap.listeners[index].name) cannot accept: \(error)",
          exitCode: ExitCode.unavailable)
      }
    }
    front.startControl()
    front.events.send(.serving)
    return front
  }

  private init(
    settings: FrontSettings, chain: ChainSettings, state: SharedState, control: Int32, report: Int32, accessLog: Int32
  ) {
    self.control = control
    log = FrontLog(descriptor: report, level: settings.bootstrap.logLevel)
    self.accessLog =
      settings.bootstrap.accessLogFields != nil && accessLog >= 0
      ? AccessLogWriter(descriptor: accessLog, log: log) : nil
    events = EventSink(descriptor: control, log: log)
    shared = FrontGroup(
      maximumConnections: settings.bootstrap.bounds.connections,
      maximumPerClient: settings.bootstrap.bounds.connectionsPerClient,
      shared: state, chain: chain, events: events, log: log)
    group = MultiThreadedEventLoopGroup(numberOfThreads: Int(settings.bootstrap.eventLoops))
    servers = NIOLockedValueBox([])
    exit = NIOLockedValueBox(nil)
    finished = ConditionLock(value: false)
    var loops: [FrontLoop] = []
    for (index, eventLoop) in group.makeIterator().enumerated() {
      loops.append(
        FrontLoop(
          index: index, eventLoop: eventLoop, settings: settings, chain: chain, log: log, events: events, group: shared,
          accessLog: self.accessLog))
    }
    shared.setLoops(loops)
    for upstream in settings.upstreams {
      guard let tls = upstream.tls else { continue }
      do throws(UpstreamTLS.Problem) {
        try tls.prepare(alpn: upstream.settings.isHTTP2 ? "h2" : "http/1.1")
      } catch {
        log.write(.error, "upstream \(upstream.settings.name) cannot be called: \(error.reason)")
      }
    }
  }

  private func listen(_ index: Int, _ descriptor: Int32, _ settings: FrontSettings) throws {
    let shared = self.shared
    let isTCP = settings.listeners[index].settings.kind == .tcp
    // Whoever bound the socket has said how many may wait in it: this process, or a service manager.
    let backlog = (try? ListeningSocket.backlog(of: descriptor)) ?? ListeningSocket.usualBacklog
    let channel = try ServerBootstrap(group: group)
      .serverChannelOption(.maxMessagesPerRead, value: 16)
      .serverChannelOption(.autoRead, value: !settings.bootstrap.holdsAccept)
      .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
      .childChannelOption(.recvAllocator, value: FrontSettings.reads)
      .childChannelOption(.writeBufferWaterMark, value: FrontSettings.writes)
      .childChannelOption(.allowRemoteHalfClosure, value: isTCP)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          guard let loop = shared.loop(of: channel.eventLoop) else { throw ChannelError.operationUnsupported }
          if isTCP {
            try channel.pipeline.syncOperations.addHandler(TCPStream(loop: loop, listener: index).makeClientEnd())
          } else {
            try channel.pipeline.syncOperations.addHandler(HTTP1Client(loop: loop, listener: index))
          }
        }
      }
      .withBoundSocket(descriptor)
      .wait()
    // NIO listens once more on a socket that it is given, with a backlog of 128, whatever its options say.
    try ListeningSocket.setBacklog(of: descriptor, to: backlog)
    servers.withLockedValue { $0.append(channel) }
  }

  private func startControl() {
    let link = ControlLink(
      descriptor: control, group: shared, log: log, events: events,
      onDrain: { [self] milliseconds in drain(milliseconds: milliseconds) },
      onAccept: { [self] in accept() },
      onHandOver: { [self] milliseconds in handOver(milliseconds: milliseconds) },
      onAccessLog: { [accessLog] descriptor in
        if let accessLog { accessLog.go(to: descriptor) } else { RawDescriptor.close(descriptor) }
      },
      onEnd: { [self] in stop(code: ExitCode.unavailable) })
    // No thread, no commands: as if the supervisor were gone.
    if !DetachedThread.run({ link.run() }) { stop(code: ExitCode.unavailable) }
  }

  /// Stops accepting, finishes what is in flight, at most that long, then ends with code 0.
  public func drain(milliseconds: UInt32) {
    let servers = servers.withLockedValue { $0 }
    whenAccepted(servers) { [self] in
      for server in servers { server.close(promise: nil) }
      shared.drain(milliseconds: milliseconds) { [self] in
        events.send(.drained)
        stop(code: ExitCode.ok)
      }
    }
  }

  /// Accepts, where the bootstrap held that back.
  public func accept() {
    for server in servers.withLockedValue({ $0 }) { server.setOption(.autoRead, value: true).whenFailure { _ in } }
  }

  /// Leaves the listening sockets to another front: accepts no more, keeps each connection up to the end of its next
  /// response, at most that long, then ends with code 0. No connection that was taken is lost.
  public func handOver(milliseconds: UInt32) {
    let servers = servers.withLockedValue { $0 }
    whenAccepted(servers) { [self] in
      for server in servers { server.close(promise: nil) }
      shared.handOver(milliseconds: milliseconds) { [self] in
        shared.leaveRest { [self] in
          events.send(.drained)
          stop(code: ExitCode.ok)
        }
      }
    }
  }

  /// Stops accepting; calls `body` once all that was accepted is a connection.
  private func whenAccepted(_ servers: [any Channel], _ body: @escaping @Sendable () -> Void) {
    let all = Array(group.makeIterator())
    guard let first = all.first else { return body() }
    // What was accepted goes from the listener's loop to its own, back, and there again before it is a connection; a
    // listener that is closed meanwhile would take it along.
    let stopped = EventLoopFuture.andAllComplete(servers.map { $0.setOption(.autoRead, value: false) }, on: first)
    let settled = (0..<4).reduce(stopped) { before, _ in
      before.flatMap { EventLoopFuture.andAllComplete(all.map { $0.submit {} }, on: first) }
    }
    settled.whenComplete { _ in body() }
  }

  private func stop(code: Int32) {
    exit.withLockedValue { if $0 == nil { $0 = code } }
    finished.lock()
    finished.unlock(withValue: true)
  }

  /// The event loops, for tests.
  var loops: [FrontLoop] { shared.loops }

  /// Blocks until the front is drained, or its supervisor is gone.
  ///
  /// - Returns: the exit code for the process: 0 after a drain, `ExitCode.unavailable` without a supervisor.
  public func waitUntilFinished() -> Int32 {
    finished.lock(whenValue: true)
    finished.unlock()
    // The supervisor may not have read `drained` yet: its socket keeps it.
    events.flush(waitingAtMost: 1_000)
    try? group.syncShutdownGracefully()
    shared.helper.stop()
    for loop in shared.loops { loop.dismantle() }
    accessLog?.close()
    return exit.withLockedValue { $0 } ?? ExitCode.ok
  }
}
