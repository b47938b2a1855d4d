/// Where a plugin stands, as the control API names it.
public enum PluginState: String, Sendable, CaseIterable {
  /// A worker is being compiled for, started or configured.
  case starting
  /// A configured worker takes streams.
  case ready
  /// The last worker is gone and the next one waits for its time.
  case backoff
  /// The crash budget is spent: nothing is started until `reset`, new configuration or the stability time.
  case quarantined

  /// The number that stands for it on the wire.
  public var code: UInt8 { UInt8(truncatingIfNeeded: Self.allCases.firstIndex(of: self) ?? 0) }

  /// The state that travels as that number; nil where none does.
  public init?(code: UInt8) {
    guard Int(code) < Self.allCases.count else { return nil }
    self = Self.allCases[Int(code)]
  }
}
