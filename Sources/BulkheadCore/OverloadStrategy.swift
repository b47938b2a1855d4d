/// What a stream sees of a plugin that was not asked for want of room (policy `overload`): its ring is full, its worker
/// keeps as much of open streams as it may, or too many wait for it already. The plugin has not failed.
public enum OverloadStrategy: String, Sendable, CaseIterable {
  /// The answer of the policy's `failAnswer` where no response header has gone out, else the stream is reset.
  case close
  /// The stream goes on as if the plugin were not there.
  case open

  /// The number that stands for it on the wire.
  public var code: UInt8 { self == .close ? 0 : 1 }

  /// The strategy that travels as that number; nil where none does.
  public init?(code: UInt8) {
    switch code {
    case 0: self = .close
    case 1: self = .open
    default: return nil
    }
  }
}
