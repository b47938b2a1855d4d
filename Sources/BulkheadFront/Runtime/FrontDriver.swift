import BulkheadChain
import BulkheadCore
import BulkheadSystem
import BulkheadWire
import NIOCore

/// The event loop, and the front around it, as one loop's `ChainEngine` knows them. That loop alone touches it.
final class FrontDriver: LoopDriver {
  private let index: Int
  private let eventLoop: any EventLoop
  private let log: FrontLog
  private let events: EventSink
  private let group: FrontGroup
  /// The plugins' calls out; nil once the loop has ended.
  var callsOut: CallsOut?
  var pools: [UpstreamPool] = []

  init(index: Int, eventLoop: any EventLoop, log: FrontLog, events: EventSink, group: FrontGroup) {
    self.index = index
    self.eventLoop = eventLoop
    self.log = log
    self.events = events
    self.group = group
  }

  var now: UInt64 { Clock.monotonicNanoseconds }

  func execute(_ work: @escaping () -> Void) { eventLoop.assumeIsolated().execute(work) }

  func schedule(in nanoseconds: UInt64, _ work: @escaping () -> Void) {
    eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(Int64(clamping: nanoseconds)), work)
  }

  func send(_ event: FrontEvent) { events.send(event) }

  func log(_ level: LogLevel, request: String, _ message: @autoclosure () -> String) {
    log.write(level, request: request, message())
  }

  // MARK: The other loops

  func condemn(worker: UInt64, reason: ExitReason) { group.condemn(worker: worker, reason: reason, except: index) }

  func spread(_ fingerprint: Fingerprint, of plugin: UInt32, now: UInt64) {
    group.suspect(fingerprint, of: plugin, now: now, except: index)
  }

  func spread(standing request: UInt64?, in worker: UInt64, of plugin: UInt32) {
    group.stands(at: request, in: worker, of: plugin, except: index)
  }

  func isIdle(_ mapping: WorkerMapping) { group.isIdle(mapping) }

  func letGo(of mapping: WorkerMapping) { group.letGo(of: mapping) }

  func letGo(ofPlugin number: UInt32) { group.letGo(ofPlugin: number) }

  // MARK: Calls out of plugins

  func perform(_ outcome: PluginOutcome, from link: WorkerLink) { callsOut?.perform(outcome, from: link) }

  func callsEnd(of link: WorkerLink) { callsOut?.workerLost(link) }

  func callsEnd(_ tokens: [UInt32], of link: WorkerLink) { callsOut?.vmLost(link, calls: tokens) }

  func callsEnd(ofStream stream: UInt32) { callsOut?.streamEnded(stream) }

  func callsGoOn() { callsOut?.resumeHeldBack() }

  func endpoints(ofUpstream name: UnsafeRawBufferPointer) -> [UInt8]? {
    pools.first { $0.nameBytes.withUnsafeBytes { $0.equals(name) } }?.hosts
  }
}
