import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// What plugins set on one stream with `proxy_set_property`, for the plugins behind them and for the access log.
public struct StreamProperties: Sendable {
  /// Properties of one stream, and their bytes.
  static let maximumCount = 256
  static let maximumBytes = 64 << 10

  /// In the order in which they were set first.
  public private(set) var list: [(path: [UInt8], value: [UInt8])] = []
  /// Of all paths and values.
  private(set) var bytes = 0
  /// Counts the changes, also of what the transport itself knows.
  public var version: UInt32 = 0

  /// At most `maximumCount`.
  public var count: Int { list.count }
  var isPristine: Bool { version == 0 }

  /// - Returns: why it is left out, for people; nil where it was set.
  mutating func set(_ path: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> String? {
    // The plugins behind it would take it for the front's own word. An honest worker sends no such thing.
    guard !PropertyPath.isReserved(path) else {
      return "a property that it set under a name of the host's is left out"
    }
    let index = list.firstIndex { $0.path.withUnsafeBytes { $0.equals(path) } }
    var bytes = self.bytes &+ value.count
    if let index { bytes &-= list[index].value.count } else { bytes &+= path.count }
    guard index != nil || list.count < Self.maximumCount, bytes <= Self.maximumBytes else {
      return "a property that it set is left out: a stream has at most \(Self.maximumCount) of them, "
        + "of \(Self.maximumBytes) bytes in all"
    }
    self.bytes = bytes
    version &+= 1
    if let index {
      list[index].value = [UInt8](value)
    } else {
      list.append((path: [UInt8](path), value: [UInt8](value)))
    }
    return nil
  }
}
