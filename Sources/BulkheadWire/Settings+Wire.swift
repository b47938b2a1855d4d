import BulkheadCore

/// By its table: each quantity is a u64, times are in nanoseconds. What does not fit is the largest there is.
extension WireCodable where Self: Settings {
  static var blank: Self { Self() }

  mutating func code<Coder: WireCoder & ~Copyable>(_ coder: inout Coder) throws(Coder.Failure) {
    for setting in Self.table {
      switch setting.quantity {
      case .count(let path, _):
        var number = UInt64(clamping: self[keyPath: path])
        try coder.code(&number, setting.key)
        self[keyPath: path] = Int(clamping: number)
      case .bytes(let path, _): try coder.code(&self[keyPath: path].bytes, setting.key)
      case .time(let path, _):
        var time = self[keyPath: path].wholeNanoseconds
        try coder.code(&time, setting.key)
        self[keyPath: path] = .nanoseconds(Int64(clamping: time))
      }
    }
  }
}

extension Bounds: WireCodable {}
extension Timeouts: WireCodable {}
