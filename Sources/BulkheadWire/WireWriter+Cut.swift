extension WireWriter {
  /// A u32 length and the string's UTF-8, at most `limit` bytes of it.
  mutating func cut(_ string: String, to limit: Int) {
    var copy = string
    copy.withUTF8 { unsafe blob(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer($0).prefix(limit))) }
  }

  /// As `cut`, for text that people read: where something is missing, the end says how much.
  mutating func cutWithMark(_ string: String, to limit: Int) {
    let count = string.utf8.count
    guard count > limit else { return cut(string, to: limit) }
    let kept = max(limit - CutMark.maximumBytes, 0)
    self.string(
      String(decoding: string.utf8.prefix(kept), as: UTF8.self) + CutMark.text(missing: count - kept, of: count))
  }
}

/// What stands behind text that was cut.
public enum CutMark {
  /// The longest one: bytes.
  public static let maximumBytes = 80

  /// What stands at the end of a line of which so many bytes were left out.
  public static func text(missing: Int, of all: Int) -> String { " [cut: \(missing) of \(all) bytes are missing]" }
}
