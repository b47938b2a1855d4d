import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Glibc

/// The front's end of the control socket: a thread of its own takes the supervisor's commands, since descriptors come
/// with them, and hands them to the event loops.
final class ControlLink: Sendable {
  private let descriptor: Int32
  private let group: FrontGroup
  private let log: FrontLog
  private let events: EventSink
  private let onDrain: @Sendable (UInt32) -> Void
  private let onAccept: @Sendable () -> Void
  private let onHandOver: @Sendable (UInt32) -> Void
  private let onAccessLog: @Sendable (Int32) -> Void
  private let onEnd: @Sendable () -> Void

  /// - Parameters:
  ///   - descriptor: SOCK_SEQPACKET; closed by whoever made it, after `onEnd`.
  ///   - onDrain: the supervisor orders the end, within that many milliseconds. Called on the control thread.
  ///   - onAccept: the listeners may accept, where they were held back. Called on the control thread.
  ///   - onHandOver: another front takes the listeners; this one ends within that many milliseconds. Called on the
  ///     control thread.
  ///   - onAccessLog: the access log goes to that descriptor, which is taken over. Called on the control thread.
  ///   - onEnd: the supervisor is gone, or speaks another language. Called on the control thread, once.
  init(
    descriptor: Int32, group: FrontGroup, log: FrontLog, events: EventSink,
    onDrain: @escaping @Sendable (UInt32) -> Void, onAccept: @escaping @Sendable () -> Void,
    onHandOver: @escaping @Sendable (UInt32) -> Void, onAccessLog: @escaping @Sendable (Int32) -> Void,
    onEnd: @escaping @Sendable () -> Void
  ) {
    self.descriptor = descriptor
    self.group = group
    self.log = log
    self.events = events
    self.onDrain = onDrain
    self.onAccept = onAccept
    self.onHandOver = onHandOver
    self.onAccessLog = onAccessLog
    self.onEnd = onEnd
  }

  /// Takes commands until the socket ends. Blocks its thread.
  func run() {
    while true {
      do throws(SystemError) {
        switch try MessageSocket.receive(
          descriptor, maximumBytes: Limits.maximumControlMessage, maximumDescriptors: Limits.maximumEventLoops + 2)
        {
        case .end:
          onEnd()
          return
        case .wouldWait:
          // The socket is shared with the sender, which never waits: wait here for the next message.
          var poll = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
          _ = Glibc.poll(&poll, 1, -1)
        case .message(let message):
          take(message)
        }
      } catch {
        // A message too long or descriptors that do not fit concern that message alone.
        guard error.code == Errno.messageTooLong else {
          log.write(.error, "the control socket failed: \(error)")
          onEnd()
          return
        }
        log.write(.error, "a command of the supervisor was dropped: \(error)")
      }
    }
  }

  private func take(_ message: consuming ReceivedMessage) {
    let bytes = message.bytes
    var descriptors = message.takeDescriptors()
    var parsed: Result<FrontCommand, WireError> = .failure(WireError(.truncated, "command"))
    bytes.withUnsafeBytes { buffer in
      do throws(WireError) { parsed = .success(try FrontCommand(buffer)) } catch { parsed = .failure(error) }
    }
    switch parsed {
    case .failure(let error): log.write(.error, "a command of the supervisor was dropped: \(error)")
    case .success(.addWorker(let worker, let plugin, let ofLane)):
      guard let layout = group.layout(ofPlugin: plugin) else {
        log.write(.error, "worker \(worker) is refused: there is no plugin \(plugin)")
        events.send(.workerGone(worker: worker))
        return
      }
      do throws(SystemError) {
        try group.addWorker(worker, plugin: plugin, isLane: ofLane, layout: layout, descriptors: &descriptors)
      } catch {
        // No fault of the worker, which has done nothing with it yet.
        log.write(.error, "worker \(worker) is refused: \(error)")
        events.send(.workerGone(worker: worker))
      }
    case .success(.workerReady(let worker)): group.workerReady(worker)
    case .success(.retireWorker(let worker)): group.retireWorker(worker)
    case .success(.pluginState(let plugin, let state)): group.setPlugin(plugin, state)
    case .success(.nextStart(let plugin, let due)): group.setNextStart(plugin, due)
    case .success(.laneState(let plugin, let state)): group.setLane(plugin, state)
    case .success(.clearSuspects(let plugin)): group.clearSuspects(plugin)
    case .success(.drain(let milliseconds)): onDrain(milliseconds)
    case .success(.accept): onAccept()
    case .success(.handOver(let milliseconds)): onHandOver(milliseconds)
    case .success(.reopenAccessLog):
      if let file = descriptors.takeFirst() { onAccessLog(file.release()) }
    case .success(.leaveState):
      guard let file = descriptors.takeFirst() else { return }
      if let rest = descriptors.takeFirst() {
        group.leaveState(to: file.release(), rest: rest.release())
      } else {
        group.leaveState(to: file.release(), rest: nil)
      }
    case .success(.takeState): if let file = descriptors.takeFirst() { group.takeState(from: file.release()) }
    case .success(.logLevel(let level)): log.setLevel(level)
    case .success(.collectMetrics(let number)): MetricsCollection.start(number: number, group: group)
    case .success(.ping(let number)): group.ping(number)
    case .success(.collectStatistics(let number)): MetricsCollection.startStatistics(number: number, group: group)
    case .success(.prepareChain(let generation)): prepareChain(generation, &descriptors)
    case .success(.activateChain(let generation)): group.activateChain(generation: generation)
    case .success(.discardChain(let generation)): group.discardChain(generation: generation)
    }
  }

  private func prepareChain(_ generation: UInt32, _ descriptors: inout DescriptorList) {
    func refuse(_ why: String) {
      log.write(.error, "chain \(generation) is refused: \(why)")
      events.send(.chainRefused(generation: generation, detail: why))
    }
    guard let file = descriptors.takeFirst() else { return refuse("its bootstrap is missing") }
    do {
      let bytes = try RawDescriptor.readFile(file.raw, atMost: FrontProcess.maximumBootstrap)
      try group.prepareChain(try bytes.withUnsafeBytes { try FrontBootstrap($0) }, generation: generation)
    } catch {
      refuse("\(error)")
    }
  }
}
