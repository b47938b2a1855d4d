/// How many looks for replies may follow each other without a look at the sockets.
struct PollChain {
  /// More than those that one time of looking takes.
  static let longest = 256
  /// What a worker counts that a look left with replies: it took all the time of a round.
  static let backlog = 128
  /// What an action counts that no callback asked for: a worker that stops short of a backlog may have as many.
  static let unasked = 2
  private var length = 0

  /// A look begins that none before it asked for.
  @inline(__always)
  mutating func begin() { length = 0 }

  /// A look asks for another one.
  ///
  /// - Parameters:
  ///   - backlogs: the workers that it left with replies.
  ///   - unasked: actions that it took and that no callback asked for.
  /// - Returns: false where the sockets come first.
  @inline(__always)
  mutating func mayGoOn(backlogs: Int, unasked: Int = 0) -> Bool {
    length &+= max(backlogs &* Self.backlog &+ unasked &* Self.unasked, 1)
    if length < Self.longest { return true }
    length = 0
    return false
  }
}
