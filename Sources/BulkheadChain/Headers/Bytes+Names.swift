import BulkheadCore
import Glibc

extension StaticString {
  /// The string's bytes; they live as long as the process.
  @inline(__always)
  public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: utf8Start, count: utf8CodeUnitCount) }
}

extension UnsafeRawBufferPointer {
  /// Byte by byte, without a look at the case.
  @inline(__always)
  public func equals(_ text: StaticString) -> Bool { equals(text.bytes) }

  /// Byte by byte, without a look at the case.
  @inline(__always)
  public func equals(_ other: UnsafeRawBufferPointer) -> Bool {
    guard count == other.count else { return false }
    guard let left = baseAddress, let right = other.baseAddress else { return true }
    return memcmp(left, right, count) == 0
  }

  /// Whether they are the name of `CallMark`, or one that programs which take `_` for `-` would take for it.
  var isPluginMark: Bool {
    let mark: StaticString = "x-bulkhead-plugin"
    guard count == mark.utf8CodeUnitCount else { return false }
    for index in 0..<count {
      let byte = self[index] == UInt8(ascii: "_") ? UInt8(ascii: "-") : self[index]
      if byte != mark.utf8Start[index] { return false }
    }
    return true
  }

  /// Calls `body` with each element of a comma-separated list, without the white space around it.
  public func forEachListElement(_ body: (UnsafeRawBufferPointer) -> Void) {
    var start = 0
    while start <= count {
      var end = start
      while end < count, self[end] != UInt8(ascii: ",") { end += 1 }
      var first = start
      var last = end
      while first < last, ASCII.isBlank(self[first]) { first += 1 }
      while last > first, ASCII.isBlank(self[last - 1]) { last -= 1 }
      if first < last { body(UnsafeRawBufferPointer(rebasing: self[first..<last])) }
      start = end + 1
    }
  }
}
