import BulkheadCore
import BulkheadWire
import Glibc

/// What a supervisor leaves to the program that it executes in its place, under the same process id: which descriptors
/// are what, and which children serve. Its encoding is understood by later and earlier versions of the same `format`.
///
/// The descriptors are numbers; whoever takes the handover over owns them.
struct Handover: Equatable, Sendable {
  /// A listening socket, and what the configuration said of it.
  struct Listener: Equatable, Sendable {
    var name: String
    var host: String
    var port: UInt16
    /// Where it is bound.
    var address: String
    /// No socket unit holds it: the service manager is to keep it.
    var isStorable: Bool
    var socket: Int32
  }

  /// A child with what was read of its pipes and not yet taken.
  struct Child: Equatable, Sendable {
    var pid: Int32
    var pidfd: Int32
    var report: Int32
    var errors: Int32
    var reportRest: [UInt8] = []
    var errorRest: [UInt8] = []

    var descriptors: [Int32] { [pidfd, report, errors] }
  }

  struct Worker: Equatable, Sendable {
    var id: UInt64
    var plugin: String
    var wasReady: Bool
    /// On the monotonic clock.
    var startedNanoseconds: UInt64
    var child: Child
  }

  /// A front with its workers.
  struct Generation: Equatable, Sendable {
    /// Of the binaries.
    var version: String
    /// Its front was told that another one takes over.
    var isLeaving: Bool
    var front: Child
    var control: Int32
    /// The write end of the pipe whose end its workers die of.
    var lifeline: Int32
    var workers: [Worker]
    /// Where its front writes what it counts until its end; -1 where it was not told of any.
    var rest: Int32 = -1

    var descriptors: [Int32] {
      front.descriptors + [control, lifeline] + (rest < 0 ? [] : [rest]) + workers.flatMap(\.child.descriptors)
    }
  }

  /// The events that are kept, so that who follows them misses none.
  struct Events: Equatable, Sendable {
    /// When the supervisor started, in milliseconds since 1970.
    var since: Int64 = 0
    /// The sequence of the newest one.
    var last: UInt64 = 0
    /// As JSON, the oldest first.
    var kept: [[UInt8]] = []
  }

  static let format: UInt32 = 3
  /// More generations at a time are refused: each holds its processes.
  static let maximumGenerations = 4
  static let maximumWorkers = 65_536
  /// Those of before, on which a front may serve, are among them.
  static let maximumListeners = 4 * Limits.maximumListeners
  static let maximumBytes = 64 << 20
  /// The largest event: bytes.
  static let maximumEvent = 1 << 20
  /// A longer text of why an attempt failed is cut: bytes.
  static let maximumFailure = 16 << 10

  /// Which upgrade it is, counted from 1.
  var number: UInt32
  /// The version that executes the other.
  var version: String
  /// Why an attempt before this one failed; empty where none did.
  var failure = ""
  /// No worker had this number yet.
  var nextWorker: UInt64
  var listeners: [Listener]
  /// The oldest one first.
  var generations: [Generation]

  var events = Events()
  /// Where the program that executes the other has listened for `bulkheadctl`.
  var controlSocket = ""
  /// `History`, as JSON; empty where there is none.
  var history: [UInt8] = []
  /// Whom to go back to; nil where nobody could go on.
  var origin: Origin?
  /// The program that is executed is that one.
  var isBack = false

  var descriptors: [Int32] {
    listeners.map(\.socket) + generations.flatMap(\.descriptors) + (origin?.descriptors ?? [])
  }

  func encoded() -> [UInt8] {
    var writer = WireWriter(capacity: 4_096)
    writer.u32(Self.format)
    writer.u32(number)
    writer.string(version)
    writer.string(String(decoding: failure.utf8.prefix(Self.maximumFailure), as: UTF8.self))
    writer.u64(nextWorker)
    writer.array(listeners) { $1.encode(into: &$0) }
    writer.array(generations) { writer, generation in
      writer.string(generation.version)
      writer.bool(generation.isLeaving)
      generation.front.encode(into: &writer)
      writer.i32(generation.control)
      writer.i32(generation.lifeline)
      writer.array(generation.workers) { writer, worker in
        writer.u64(worker.id)
        writer.string(worker.plugin)
        writer.bool(worker.wasReady)
        writer.u64(worker.startedNanoseconds)
        worker.child.encode(into: &writer)
      }
      writer.bool(generation.rest >= 0)
      if generation.rest >= 0 { writer.i32(generation.rest) }
    }
    writer.u64(UInt64(bitPattern: events.since))
    writer.u64(events.last)
    writer.array(events.kept) { writer, event in writer.blob(event) }
    writer.string(controlSocket)
    writer.blob(history)
    writer.bool(isBack)
    writer.bool(origin != nil)
    origin?.encode(into: &writer)
    return writer.array
  }

  init(
    number: UInt32, version: String, failure: String = "", nextWorker: UInt64, listeners: [Listener],
    generations: [Generation], events: Events = Events()
  ) {
    self.events = events
    self.number = number
    self.version = version
    self.failure = failure
    self.nextWorker = nextWorker
    self.listeners = listeners
    self.generations = generations
  }

  init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = WireReader(bytes)
    guard try reader.u32("handover.format") == Self.format else { throw WireError(.unknownValue, "handover.format") }
    number = try reader.u32("handover.number")
    version = try reader.string("handover.version", atMost: 256)
    failure = try reader.string("handover.failure", atMost: 64 << 10)
    nextWorker = try reader.u64("handover.nextWorker")
    listeners = try reader.array("handover.listeners", atMost: Self.maximumListeners) { reader throws(WireError) in
      try Listener(&reader)
    }
    generations = try reader.array("handover.generations", atMost: Self.maximumGenerations) {
      reader throws(WireError) in
      Generation(
        version: try reader.string("generation.version", atMost: 256),
        isLeaving: try reader.bool("generation.isLeaving"), front: try Child(&reader),
        control: try reader.descriptor("generation.control"), lifeline: try reader.descriptor("generation.lifeline"),
        workers: try reader.array("generation.workers", atMost: Self.maximumWorkers) { reader throws(WireError) in
          Worker(
            id: try reader.u64("worker.id"), plugin: try reader.string("worker.plugin"),
            wasReady: try reader.bool("worker.wasReady"),
            startedNanoseconds: try reader.u64("worker.startedNanoseconds"), child: try Child(&reader))
        }, rest: try reader.bool("generation.hasRest") ? try reader.descriptor("generation.rest") : -1)
    }
    events.since = Int64(bitPattern: try reader.u64("events.since"))
    events.last = try reader.u64("events.last")
    events.kept = try reader.array("events.kept", atMost: EventRing.maximumEvents) { reader throws(WireError) in
      try reader.bytes("event", atMost: Self.maximumEvent)
    }
    controlSocket = try reader.string("handover.controlSocket")
    history = try reader.bytes("handover.history", atMost: History.maximumBytes)
    isBack = try reader.bool("handover.isBack")
    origin = try reader.bool("handover.hasOrigin") ? try Origin(&reader) : nil
    try reader.end("handover")
    // Two owners of one number would close it under each other.
    let numbers = descriptors
    guard Set(numbers).count == numbers.count else { throw WireError(.unknownValue, "handover.descriptors") }
  }
}

extension Handover.Listener {
  func encode(into writer: inout WireWriter) {
    writer.string(name)
    writer.string(host)
    writer.u16(port)
    writer.string(address)
    writer.bool(isStorable)
    writer.i32(socket)
  }

  init(_ reader: inout WireReader) throws(WireError) {
    self.init(
      name: try reader.string("listener.name"), host: try reader.string("listener.host"),
      port: try reader.u16("listener.port"), address: try reader.string("listener.address"),
      isStorable: try reader.bool("listener.isStorable"), socket: try reader.descriptor("listener.socket"))
  }
}

extension Handover.Child {
  fileprivate func encode(into writer: inout WireWriter) {
    writer.i32(pid)
    for descriptor in descriptors { writer.i32(descriptor) }
    writer.blob(reportRest)
    writer.blob(errorRest)
  }

  fileprivate init(_ reader: inout WireReader) throws(WireError) {
    pid = try reader.i32("child.pid")
    guard pid > 0 else { throw WireError(.unknownValue, "child.pid") }
    pidfd = try reader.descriptor("child.pidfd")
    report = try reader.descriptor("child.report")
    errors = try reader.descriptor("child.errors")
    reportRest = try reader.bytes("child.reportRest", atMost: Limits.maximumCompilerFrame)
    errorRest = try reader.bytes("child.errorRest", atMost: Limits.maximumCompilerFrame)
  }
}

extension WireReader {
  /// The number of a descriptor that this process has open beside its standard ones.
  mutating func descriptor(_ field: StaticString) throws(WireError) -> Int32 {
    let number = try i32(field)
    guard number > 2, fcntl(number, F_GETFD) >= 0 else { throw WireError(.unknownValue, field) }
    return number
  }
}
