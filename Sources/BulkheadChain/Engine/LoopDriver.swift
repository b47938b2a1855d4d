import BulkheadCore
import BulkheadWire

/// What an engine needs of the event loop that it runs on, and of the process around it. Called on that loop alone.
public protocol LoopDriver: AnyObject {
  /// CLOCK_MONOTONIC, ns.
  var now: UInt64 { get }

  /// Does it once the loop has done what it is doing.
  func execute(_ work: @escaping () -> Void)

  /// Does it after so many ns, and not before the loop has looked at its sockets.
  func schedule(in nanoseconds: UInt64, _ work: @escaping () -> Void)

  /// Tells the supervisor.
  func send(_ event: FrontEvent)

  /// Writes a line of the log.
  ///
  /// - Parameter request: what the line calls its stream; "" outside any.
  func log(_ level: LogLevel, request: String, _ message: @autoclosure () -> String)

  // MARK: The other loops

  /// This loop found the worker at fault: the others stop using it.
  func condemn(worker: UInt64, reason: ExitReason)

  /// A plugin died of such a stream: the others know its like too.
  func spread(_ fingerprint: Fingerprint, of plugin: UInt32, now: UInt64)

  /// A callback for that request runs long in a worker, or has ended: the others do not send its twins to the last worker.
  ///
  /// - Parameter request: of the stream's fingerprint; nil where the callback has ended.
  func spread(standing request: UInt64?, in worker: UInt64, of plugin: UInt32)

  /// This loop has no stream in a retired worker any more.
  func isIdle(_ mapping: WorkerMapping)

  /// This loop has let go of a dead worker.
  func letGo(of mapping: WorkerMapping)

  /// This loop has no stream of that plugin any more, nor a worker of it that owes anything.
  func letGo(ofPlugin number: UInt32)

  // MARK: Calls out of plugins

  /// Does the calls among what a reply asks for.
  func perform(_ outcome: PluginOutcome, from link: WorkerLink)

  /// All calls of the worker end unheard.
  func callsEnd(of link: WorkerLink)
  /// Calls of one VM of the worker, by their tokens, end unheard.
  func callsEnd(_ tokens: [UInt32], of link: WorkerLink)
  /// Calls that end with that stream end unheard.
  func callsEnd(ofStream stream: UInt32)

  /// A worker has caught up with what was kept for it.
  func callsGoOn()

  /// The endpoints of the upstream of that name as serialized pairs; nil where there is none.
  func endpoints(ofUpstream name: UnsafeRawBufferPointer) -> [UInt8]?
}
