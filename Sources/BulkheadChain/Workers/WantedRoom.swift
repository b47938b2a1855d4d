/// The room among what workers keep of open streams that other streams have not found, and how far the making of it is.
///
/// A pure state machine: it says when streams that dawdle are to be ended for it, and which of them help.
struct WantedRoom {
  enum Room: Equatable {
    /// For a stream that is new to the plugin, in any worker that takes such streams.
    case ofStreams
    /// For the body of a stream that the worker of that number has.
    case ofBodies(UInt64)
  }

  /// How far the making of room is.
  private enum Making {
    case idle
    /// It begins once the loop has done what it does.
    case scheduled
    case running
  }

  /// What streams have not found since room was last made, and since when: CLOCK_MONOTONIC, ns.
  private(set) var wanted: [Room] = []
  private(set) var since: UInt64 = 0
  private var making = Making.idle
  /// Before it nobody is looked for who could make room: CLOCK_MONOTONIC, ns.
  private var next: UInt64 = 0

  var isEmpty: Bool { wanted.isEmpty }

  /// A stream that is about to wait found no such room.
  ///
  /// - Returns: whether it is to be made, as soon as the loop has done what it does.
  mutating func want(_ room: Room, now: UInt64) -> Bool {
    if wanted.isEmpty { since = now }
    if !wanted.contains(room) { wanted.append(room) }
    guard making == .idle, now >= next else { return false }
    making = .scheduled
    return true
  }

  /// It is about to be made.
  ///
  /// - Returns: false where that is under way.
  mutating func begin() -> Bool {
    guard making != .running else { return false }
    making = .running
    return true
  }

  mutating func end() { making = .idle }

  /// Those who wait try again: who still finds none says so again.
  ///
  /// - Returns: since when room was wanted, for `stillWanted`.
  mutating func beginRound() -> UInt64 {
    wanted.removeAll(keepingCapacity: true)
    return since
  }

  /// They have tried.
  ///
  /// - Returns: false where nobody wants room any more.
  mutating func isStillWanted(since before: UInt64) -> Bool {
    guard !wanted.isEmpty else { return false }
    since = before
    return true
  }

  /// Nobody waits.
  mutating func forget() { wanted.removeAll() }

  /// Nobody who could make room was found: it is not looked for one before that time.
  mutating func rests(until time: UInt64) { next = time }

  /// How long a stream must have waited for its own client to be ended for that room: ns. The time that room has been wanted
  /// counts too, so that it is always made.
  ///
  /// - Parameter patience: ns; what is left of it.
  func least(of patience: UInt64, now: UInt64) -> UInt64 {
    let waited = now > since ? now &- since : 0
    return patience > waited ? patience &- waited : 0
  }

  /// Whether room in that worker is of use.
  ///
  /// - Parameter isServing: it takes streams that are new to the plugin.
  func isOfUse(in worker: UInt64, isServing: @autoclosure () -> Bool) -> Bool {
    wanted.contains { room in
      switch room {
      case .ofStreams: isServing()
      case .ofBodies(let number): number == worker
      }
    }
  }
}
