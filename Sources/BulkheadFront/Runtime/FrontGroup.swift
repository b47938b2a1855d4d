import BulkheadChain
import BulkheadCore
import BulkheadRing
import BulkheadSystem
import BulkheadWire
import NIOConcurrencyHelpers
import NIOCore
import Synchronization

/// What the event loops of one front have in common. Any thread.
final class FrontGroup: Sendable {
  private let connections = Atomic<Int>(0)
  private let maximumConnections: Int
  /// Nil where each client may have as many connections as all.
  let clients: ClientConnections?
  let events: EventSink
  /// What workers share, and what outlives them.
  let shared: SharedState
  /// For what would hold an event loop up.
  let helper = HelperThread()
  /// What is left to another front.
  let carry = CarryOver()
  /// What fingerprints of streams are made with.
  let fingerprintKey = KeyedHash.Key.random()
  private let log: FrontLog
  private let state: NIOLockedValueBox<State>

  private struct State {
    var loops: [FrontLoop] = []
    var chains: ChainRegistry
    var draining = 0
    var whenDrained: (@Sendable () -> Void)?
    var isLeaving = false
  }

  /// - Parameter chain: that new streams take first.
  init(
    maximumConnections: Int, maximumPerClient: Int, shared: SharedState, chain: ChainSettings, events: EventSink,
    log: FrontLog
  ) {
    clients = maximumPerClient > 0 ? ClientConnections(maximum: maximumPerClient) : nil
    state = NIOLockedValueBox(State(chains: ChainRegistry(chain)))
    self.shared = shared
    self.maximumConnections = maximumConnections
    self.events = events
    self.log = log
  }

  /// The loops, set once before anything else is done.
  func setLoops(_ loops: [FrontLoop]) { state.withLockedValue { $0.loops = loops } }

  var loops: [FrontLoop] { state.withLockedValue { $0.loops } }

  func withChains<Value>(_ body: (inout ChainRegistry) -> Value) -> Value { state.withLockedValue { body(&$0.chains) } }

  /// The loop that runs on that event loop.
  func loop(of eventLoop: any EventLoop) -> FrontLoop? { loops.first { $0.eventLoop === eventLoop } }

  // MARK: Connections

  /// Counts a connection; every one that was counted is released, whatever the answer.
  ///
  /// - Returns: whether it may be served.
  func admitConnection() -> Bool {
    connections.add(1, ordering: .relaxed).newValue <= maximumConnections
  }

  func releaseConnection() { connections.subtract(1, ordering: .relaxed) }

  // MARK: Workers

  func onEachLoop(_ work: @escaping @Sendable (FrontLoop) -> Void) {
    for loop in loops { loop.eventLoop.execute { work(loop) } }
  }

  /// Maps a new worker's memory and gives every loop its end of the channel, doorbell and liveness pipe.
  ///
  /// - Throws: `SystemError` where the memory is not what it should be or a descriptor cannot be had; nothing is kept.
  func addWorker(
    _ worker: UInt64, plugin: UInt32, isLane: Bool = false, layout: ChannelLayout, descriptors: inout DescriptorList
  ) throws(SystemError) {
    guard let memory = descriptors.takeFirst(), let liveness = descriptors.takeFirst() else {
      throw SystemError(operation: "attach worker \(worker)", code: Errno.invalid, advice: "descriptors are missing")
    }
    let loops = self.loops
    guard descriptors.count == loops.count else {
      throw SystemError(
        operation: "attach worker \(worker)", code: Errno.invalid,
        advice: "\(descriptors.count) doorbells came, \(loops.count) are needed")
    }
    let mapping = try WorkerMapping(
      worker: worker, plugin: plugin, isLane: isLane, layout: layout, memory: memory)
    var handles: [(doorbell: Int32, liveness: Int32)] = []
    for _ in loops {
      guard let doorbell = descriptors.takeFirst() else { break }
      let own: Descriptor
      do throws(SystemError) {
        own = try liveness.duplicate()
      } catch {
        for handle in handles {
          RawDescriptor.close(handle.doorbell)
          RawDescriptor.close(handle.liveness)
        }
        throw error
      }
      handles.append((doorbell.release(), own.release()))
    }
    for (loop, handle) in zip(loops, handles) {
      loop.eventLoop.execute { loop.attach(mapping, doorbell: handle.doorbell, liveness: handle.liveness) }
    }
    events.send(.workerAttached(worker: worker))
  }

  func workerReady(_ worker: UInt64) {
    onEachLoop { loop in for link in loop.engine.links where link.worker == worker { link.becomeReady() } }
  }

  func retireWorker(_ worker: UInt64) {
    onEachLoop { loop in for link in loop.engine.links where link.worker == worker { link.retire() } }
  }

  func setPlugin(_ plugin: UInt32, _ new: PluginState) {
    onEachLoop { loop in loop.engine.plugin(plugin)?.setState(new) }
  }

  func setNextStart(_ plugin: UInt32, _ due: UInt64) {
    onEachLoop { loop in loop.engine.plugin(plugin)?.setNextStart(due) }
  }

  func setLane(_ plugin: UInt32, _ new: PluginState) {
    onEachLoop { loop in loop.engine.plugin(plugin)?.setLaneState(new) }
  }

  func clearSuspects(_ plugin: UInt32) {
    onEachLoop { loop in loop.engine.plugin(plugin)?.clearSuspects() }
  }

  /// A plugin died of a stream on one loop: the others know its like too.
  func suspect(_ fingerprint: Fingerprint, of plugin: UInt32, now: UInt64, except origin: Int) {
    for loop in loops where loop.index != origin {
      loop.eventLoop.execute { loop.engine.plugin(plugin)?.learned(fingerprint, at: now) }
    }
  }

  /// One loop's callback runs long in a worker, or has ended: the others do not send its twins to the last worker.
  ///
  /// - Parameter request: of the stream's fingerprint; nil where the callback has ended.
  func stands(at request: UInt64?, in worker: UInt64, of plugin: UInt32, except origin: Int) {
    for loop in loops where loop.index != origin {
      loop.eventLoop.execute { loop.engine.plugin(plugin)?.learnStands(at: request, in: worker) }
    }
  }

  /// One loop found a worker at fault: the others stop using it.
  func condemn(worker: UInt64, reason: ExitReason, except origin: Int) {
    for loop in loops where loop.index != origin {
      loop.eventLoop.execute { for link in loop.engine.links where link.worker == worker { link.condemn(reason) } }
    }
  }

  /// A loop has no stream in a retired worker any more.
  func isIdle(_ mapping: WorkerMapping) {
    if mapping.becameIdle() { events.send(.workerIdle(worker: mapping.worker)) }
  }

  /// A loop has let go of a dead worker.
  func letGo(of mapping: WorkerMapping) {
    if mapping.letGo() { events.send(.workerGone(worker: mapping.worker)) }
  }

  // MARK: Watch

  /// Answers once every loop has come to it.
  func ping(_ number: UInt32) {
    let loops = self.loops
    let missing = Countdown(loops.count)
    let events = self.events
    for loop in loops { loop.eventLoop.execute { if missing.step() { events.send(.pong(number: number)) } } }
  }

  // MARK: Drain

  /// Lets every loop finish what is in flight; `done` is called once, when all have, or after the time. After `handOver`,
  /// whose `done` is then the one that is called, it only makes haste.
  func drain(milliseconds: UInt32, done: @escaping @Sendable () -> Void) {
    leave(milliseconds: milliseconds, done: done) { $0.drain() }
  }

  /// As `drain`, but connections are kept up to their next response.
  func handOver(milliseconds: UInt32, done: @escaping @Sendable () -> Void) {
    leave(milliseconds: milliseconds, done: done) { $0.handOver() }
  }

  private func leave(
    milliseconds: UInt32, done: @escaping @Sendable () -> Void, _ work: @escaping @Sendable (FrontLoop) -> Void
  ) {
    let loops = state.withLockedValue { state in
      if !state.isLeaving {
        state.isLeaving = true
        state.draining = state.loops.count
        state.whenDrained = done
      }
      return state.loops
    }
    for loop in loops {
      loop.eventLoop.execute { work(loop) }
      loop.eventLoop.scheduleTask(in: .milliseconds(Int64(milliseconds))) { loop.closeAll() }
    }
  }

  func loopIsDrained(_ loop: FrontLoop) {
    let done = state.withLockedValue { state -> (@Sendable () -> Void)? in
      guard state.draining > 0 else { return nil }
      state.draining -= 1
      guard state.draining == 0 else { return nil }
      defer { state.whenDrained = nil }
      return state.whenDrained
    }
    done?()
  }
}
