/// How the replacement of the running binaries by newly installed ones stands: the answer to `POST /v1/upgrade`, and part
/// of the status.
public struct UpgradeInfo: Hashable, Sendable, Codable {
  /// How far the replacement has come.
  public enum State: String, Hashable, Sendable, Codable {
    /// The new bulkheadd starts on trial, beside the running one; nothing has changed.
    case checking
    /// The new bulkheadd runs and starts its front and workers; the old ones serve.
    case starting
    /// The new ones serve; the old front finishes what it has under way.
    case draining
    /// The old ones are gone.
    case done
    /// The old ones serve on; `detail` says why.
    case failed
  }

  /// Counted from 1 since the supervisor's process began.
  public var number: UInt32
  /// How far it has come.
  public var state: State
  /// The version that was replaced.
  public var from: String
  /// For people; why, where it failed.
  public var detail: String
  /// The fronts of before that are not gone, oldest first.
  public var oldFronts: [Int32]

  /// `oldFronts` are process ids, oldest first.
  public init(number: UInt32, state: State, from: String, detail: String = "", oldFronts: [Int32] = []) {
    self.number = number
    self.state = state
    self.from = from
    self.detail = detail
    self.oldFronts = oldFronts
  }
}
