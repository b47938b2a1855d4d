/// What a stream sees of a plugin that cannot answer (Istio `WasmPlugin.spec.failStrategy`).
public enum FailStrategy: String, Sendable, CaseIterable {
  /// 503 where no response header has gone out, else the stream is reset.
  case failClose = "FAIL_CLOSE"
  /// The stream goes on as if the plugin were not there.
  case failOpen = "FAIL_OPEN"
  /// As `failClose` for the stream that was being worked on; new streams wait for the replacement.
  case failReload = "FAIL_RELOAD"

  /// The number that stands for it on the wire.
  public var code: UInt8 {
    switch self {
    case .failClose: 0
    case .failOpen: 1
    case .failReload: 2
    }
  }

  /// The strategy that travels as that number; nil where none does.
  public init?(code: UInt8) {
    switch code {
    case 0: self = .failClose
    case 1: self = .failOpen
    case 2: self = .failReload
    default: return nil
    }
  }
}
