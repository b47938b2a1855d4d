/// Whether a socket may be read: what comes faster than the other side takes it stays in the kernel. One event loop.
///
/// A channel asks by `read` before it reads on. A question that comes while the gate is closed is kept, and answered when
/// the gate opens.
struct ReadGate {
  private(set) var isClosed = false
  private var keepsRead = false

  mutating func close() { isClosed = true }

  /// - Returns: whether the channel has asked meanwhile, so that its read is to be passed on now.
  mutating func open() -> Bool {
    guard isClosed else { return false }
    isClosed = false
    let read = keepsRead
    keepsRead = false
    return read
  }

  /// The channel asks.
  ///
  /// - Returns: whether its read may be passed on.
  mutating func admits() -> Bool {
    if isClosed { keepsRead = true }
    return !isClosed
  }
}
