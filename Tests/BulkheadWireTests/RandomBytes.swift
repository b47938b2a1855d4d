import BulkheadTestSupport

extension SplitMix {
  /// The bytes with a few flipped, cut, repeated or set to values that lengths like.
  mutating func mutated(_ bytes: [UInt8]) -> [UInt8] {
    var result = bytes
    for _ in 0..<Int.random(in: 1...4, using: &self) where !result.isEmpty {
      let at = Int.random(in: 0..<result.count, using: &self)
      switch Int.random(in: 0..<5, using: &self) {
      case 0: result[at] = UInt8.random(in: .min ... .max, using: &self)
      case 1: result[at] = [0, 1, 0x7f, 0x80, 0xff].randomElement(using: &self) ?? 0
      case 2: result.removeSubrange(at...)
      case 3: result.insert(contentsOf: bytes.prefix(8), at: at)
      default: for index in at..<min(at + 4, result.count) { result[index] = 0xff }
      }
    }
    return result
  }
}
