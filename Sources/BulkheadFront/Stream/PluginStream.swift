import BulkheadCore

/// Why a plugin has no say in a stream.
enum PluginFault {
  /// It failed, or is not there: its fail strategy decides.
  case failure
  /// It was not asked for want of room: its policy's `overload` decides.
  case overload
}

/// A stream as workers and their links see it: an HTTP exchange or a TCP connection. Its event loop alone touches it.
///
/// Classes alone conform, so that a reference to one is a pointer and a table: nothing is boxed.
protocol PluginStream: AnyObject {
  /// The front's number for it; `StreamID.none` while there is no stream.
  var streamID: UInt32 { get }
  /// What log lines call it: the `x-request-id` of a request.
  var label: String { get }
  /// What it looks like, so that one like it is known again; none where no plugin of its chain has a lane for suspects.
  var fingerprint: Fingerprint { get }
  /// The same for people.
  var look: String { get }

  /// How long it may still wait for workers.
  var waits: WaitAllowance { get set }

  /// The place in its chain of the plugin that has it by that worker; nil where none has.
  func place(of link: WorkerLink) -> Int?

  /// The outcome of a callback.
  ///
  /// - Returns: false where it breaks the bounds; the stream is failed by then.
  func callbackAnswered(
    _ place: Int, of link: WorkerLink, kind: CallbackKind, sequence: UInt64, _ outcome: PluginOutcome
  ) -> Bool

  /// An action outside a callback, of a plugin that has the stream.
  ///
  /// - Returns: false where it breaks the bounds; the stream is failed by then.
  func streamAction(_ place: Int, _ outcome: PluginOutcome) -> Bool

  /// Whether that part of it waits for a worker of the plugin at `place`, or for room there.
  func waitsForAdmission(_ place: Int, _ part: AdmissionQueue.Part) -> Bool

  /// There may be a worker for that part of it, or room: it tries again.
  func admitted(_ place: Int, _ part: AdmissionQueue.Part)

  /// No worker came in time, or none will, or there was no room in time.
  func admissionFailed(_ place: Int, _ why: String, _ fault: PluginFault)

  /// The worker of the plugin at `place` is lost while this callback of the stream was outstanding there.
  func workerLost(
    _ place: Int, link: WorkerLink, kind: CallbackKind, sequence: UInt64, fate: ChannelLedger.Fate, why: String
  )

  /// The worker is lost: what it had paused is not resumed by anybody.
  func workerLostWhilePaused(_ link: WorkerLink, why: String)

  /// The VM that had the stream has ended, and its worker goes on with a fresh one: what the stream waits for there fails
  /// now, what it would ask it next fails then.
  func vmLost(_ link: WorkerLink, why: String)
  /// Whether it waits for its own client, and for nobody else.
  var dawdles: Bool { get }

  /// The worker of that plugin which keeps something of it; nil where none does.
  func holder(of host: PluginHost) -> WorkerLink?

  /// It dawdles, and a stream that does not needs the room that it has in a worker of that plugin: it ends.
  ///
  /// - Parameter milliseconds: for how long it has waited for its client.
  func shed(for host: PluginHost, after milliseconds: UInt64)

  /// The worker is dead and settled: a stream that has met it keeps only the fact.
  func forget(_ link: WorkerLink)
}
