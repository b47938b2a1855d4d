import BulkheadCore

/// What one event loop has sent to one worker and not yet seen dealt with: first in, first out.
///
/// A pure state machine: the channel, the streams and the clock are its caller's. The worker answers callbacks in the
/// order in which they were sent, so whatever else comes back is a breach of the protocol.
struct ChannelLedger {
  /// One callback that was sent.
  public struct Entry: Equatable, Sendable {
    var sequence: UInt64
    /// The front's number of the stream, slot and generation.
    var stream: UInt32
    var kind: CallbackKind
    /// Place in the chain.
    var place: UInt32
    /// The ring's cursor behind the record.
    var position: UInt32
    /// An earlier callback of this stream was completed in this VM: the stream has state there.
    var hasState: Bool
    /// It is the first one of its stream that this worker gets: it may be taken back.
    var isFirst = false
    /// When it was sent: CLOCK_MONOTONIC, ns.
    var sent: UInt64 = 0
    /// What its stream looks like, which may be over before the callback is.
    var fingerprint = Fingerprint.none
  }

  /// A reply that no honest worker sends.
  enum Violation: Error, Equatable, CustomStringConvertible {
    case nothingOutstanding(sequence: UInt64)
    case wrongSequence(expected: UInt64, received: UInt64)
    case wrongStream(expected: UInt32, received: UInt32)

    var description: String {
      switch self {
      case .nothingOutstanding(let sequence): "it answered callback \(sequence), which nobody asked"
      case .wrongSequence(let expected, let received): "it answered callback \(received) where \(expected) was next"
      case .wrongStream(let expected, let received): "it answered for stream \(received) where \(expected) was next"
      }
    }
  }

  /// What is to become of a callback whose worker is lost.
  enum Fate: Equatable, Sendable {
    /// The fail strategy applies: it was being worked on, or its stream has state in the lost VM.
    case fail(workedOn: Bool)
    /// Its stream is new to the VM: another worker may take it.
    case redispatch
    /// The same, and the worker lives: another one is there that comes to it sooner.
    case moved
  }

  private var entries: [Entry?] = Array(repeating: nil, count: 16)
  private var first = 0
  private(set) var count = 0
  /// How many of them wait for a reply; a `streamDone` does not.
  private(set) var awaited = 0
  /// Since when the first one is first: CLOCK_MONOTONIC, ns.
  private(set) var headSince: UInt64 = 0

  var isEmpty: Bool { count == 0 }

  var head: Entry? { count == 0 ? nil : entries[first] }

  @inline(__always)
  mutating func append(_ entry: Entry, now: UInt64) {
    if count == entries.count { grow() }
    if count == 0 { headSince = now }
    entries[(first &+ count) & (entries.count &- 1)] = entry
    count &+= 1
    if entry.kind != .streamDone { awaited &+= 1 }
  }

  @inline(never)
  private mutating func grow() {
    var larger: [Entry?] = []
    larger.reserveCapacity(entries.count * 2)
    for index in 0..<count { larger.append(entries[(first + index) & (entries.count - 1)]) }
    larger.append(contentsOf: repeatElement(nil, count: entries.count * 2 - count))
    entries = larger
    first = 0
  }

  @inline(__always)
  private mutating func removeHead(now: UInt64) {
    if let entry = entries[first], entry.kind != .streamDone { awaited &-= 1 }
    entries[first] = nil
    first = (first &+ 1) & (entries.count &- 1)
    count &-= 1
    headSince = now
  }

  /// Takes the callback that a reply answers.
  ///
  /// Records that nobody answers and that were sent before it are dealt with by then.
  @inline(__always)
  mutating func answer(sequence: UInt64, stream: UInt32, now: UInt64) throws(Violation) -> Entry {
    while let head, head.kind == .streamDone { removeHead(now: now) }
    guard let head else { throw .nothingOutstanding(sequence: sequence) }
    guard head.sequence == sequence else { throw .wrongSequence(expected: head.sequence, received: sequence) }
    guard head.stream == stream else { throw .wrongStream(expected: head.stream, received: stream) }
    removeHead(now: now)
    return head
  }

  /// The worker says since when it has been at the first one. What became first by the end of records that nobody answers
  /// began before that end was seen: its time runs from then, so that its deadline is kept.
  ///
  /// - Parameters:
  ///   - time: the worker's word, CLOCK_MONOTONIC, ns.
  ///   - earliest: it cannot have begun before.
  mutating func headBegan(at time: UInt64, notBefore earliest: UInt64) {
    headSince = min(headSince, max(time, earliest))
  }

  /// The time of a `streamDone` that is first runs from now.
  mutating func restartDone(now: UInt64) {
    if let head, head.kind == .streamDone { headSince = now }
  }

  /// The time of the first one runs from now, whatever it is: the worker was busy with what no deadline of it is for.
  mutating func restartHead(now: UInt64) {
    if count > 0 { headSince = now }
  }

  /// What the stream looks like whose end the worker says it is at: it stands before all that waits for a reply. Told once.
  mutating func takeFingerprint(ofEnd stream: UInt32) -> Fingerprint {
    for index in 0..<count {
      let place = (first + index) & (entries.count - 1)
      guard let entry = entries[place], entry.kind == .streamDone else { return .none }
      guard entry.stream == stream else { continue }
      entries[place]?.fingerprint = .none
      return entry.fingerprint
    }
    return .none
  }

  /// Takes off the front what needs no reply, as far as the worker has come.
  mutating func complete<E: Error>(now: UInt64, isDealtWith: (UInt32) throws(E) -> Bool) throws(E) {
    while let head, head.kind == .streamDone, try isDealtWith(head.position) { removeHead(now: now) }
  }

  /// Empties the ledger of a lost worker and says what becomes of each callback that waited for a reply.
  ///
  /// - Parameter running: the sequence of the record of this ledger that the worker was running, nil for none. It is
  ///   the worker's word, so it counts only where it names the first one: nothing behind that can have been started.
  mutating func abandon(running: UInt64?) -> [(Entry, Fate)] {
    var result: [(Entry, Fate)] = []
    result.reserveCapacity(count)
    for index in 0..<count {
      guard let entry = entries[(first + index) & (entries.count - 1)], entry.kind != .streamDone else { continue }
      let workedOn = index == 0 && entry.sequence == running
      result.append((entry, workedOn || entry.hasState ? .fail(workedOn: workedOn) : .redispatch))
    }
    self = ChannelLedger()
    return result
  }

  /// Callbacks that wait for a reply, and that their streams begin with in the worker.
  ///
  /// - Parameter begun: the sequence of the one that the worker says it has begun; 0 for none.
  func unbegun(but begun: UInt64) -> [Entry] {
    (0..<count).compactMap { index in
      guard let entry = entries[(first + index) & (entries.count - 1)], entry.kind.subject != .root,
        entry.kind != .streamDone, entry.isFirst, !entry.hasState, entry.sequence != begun
      else { return nil }
      return entry
    }
  }

  /// What the ledger says of the first callback's time.
  enum Lateness: Equatable, Sendable {
    /// Look again at that time (CLOCK_MONOTONIC, ns).
    case waits(until: UInt64)
    /// It ran past its deadline: the worker must go.
    case overdue(workedOn: Bool)
    /// The worker is stuck in something else: it must go too, and the first callback was not begun.
    case stuck(CallbackKind?, milliseconds: UInt64)
  }

  /// Judges the first callback.
  ///
  /// - Parameters:
  ///   - deadlines: of the plugin's callbacks.
  ///   - running: whether the worker says that it runs something, and since when; `mine` where it is the first one here.
  ///   - loops: event loops of the front: before this loop's turn comes, each other one may have had one.
  ///   - grace: how long a callback past its deadline may take to be interrupted: its own loop has asked for that, and the
  ///     worker goes on, ns.
  func lateness(
    now: UInt64, deadlines: CallbackDeadlines, running: Running, loops: Int, grace: UInt64 = 0
  ) -> Lateness? {
    guard let head else { return nil }
    let deadline = deadlines[head.kind]
    let age = now > headSince ? now - headSince : 0
    guard age >= deadline else {
      let end = headSince &+ deadline
      return .waits(until: head.kind == .streamDone ? min(end, now &+ deadlines.shortest) : end)
    }
    switch running {
    case .mine: return .overdue(workedOn: true)
    case .nothing: return .overdue(workedOn: false)
    case .other(let kind, let since):
      // The record of another loop runs, or a tick: its own loop watches it, or the supervisor. What is claimed is believed
      // only so far: a page that never moves on, or that lies for longer than all turns can take, is a stuck worker all
      // the same.
      let otherDeadline = kind.map { deadlines[$0] } ?? deadline
      let otherAge = now > since ? now - since : 0
      let longest = deadline &+ deadlines.longest &* UInt64(truncatingIfNeeded: max(loops, 1)) &+ grace
      if age >= longest { return .overdue(workedOn: false) }
      if otherAge >= otherDeadline &+ max(otherDeadline / 4, grace) {
        return .stuck(kind, milliseconds: otherAge / 1_000_000)
      }
      return .waits(until: now &+ max(deadline / 8, 1_000_000))
    }
  }

  enum Running: Equatable, Sendable {
    case nothing
    /// The first one of this ledger.
    case mine(since: UInt64)
    /// Nil: no kind that there is.
    case other(CallbackKind?, since: UInt64)
  }
}
