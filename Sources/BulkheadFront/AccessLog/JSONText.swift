import BulkheadChain

/// Writes JSON.
struct JSONText {
  private(set) var bytes: [UInt8] = []

  /// Begins anew, in the memory that it has.
  mutating func clear() { bytes.removeAll(keepingCapacity: true) }

  mutating func raw(_ text: String) { bytes.append(contentsOf: text.utf8) }

  mutating func raw(_ text: UnsafeRawBufferPointer) { bytes.append(contentsOf: text) }

  /// The members of an object that shows a map's headers: several values of a name are joined, as JSON has each key once.
  mutating func headers(_ map: HeaderMap) {
    let entries = map.entries
    var isFirst = true
    for (index, entry) in entries.enumerated() where !entry.name.isPseudo {
      let key = map.key(entry)
      if entries[..<index].contains(where: { map.key($0).equals(key) }) { continue }
      raw(isFirst ? "\n    " : ",\n    ")
      isFirst = false
      string(key)
      raw(": ")
      var value = [UInt8](map.value(entry))
      let separator = key.equals("cookie") ? UInt8(ascii: ";") : UInt8(ascii: ",")
      for other in entries[(index + 1)...] where map.key(other).equals(key) {
        value.append(contentsOf: [separator, 0x20])
        value.append(contentsOf: map.value(other))
      }
      value.withUnsafeBytes { string($0) }
    }
    if !isFirst { raw("\n  ") }
  }

  mutating func string(_ text: String) {
    var copy = text
    copy.withUTF8 { string(UnsafeRawBufferPointer($0)) }
  }

  /// A string; bytes that are no UTF-8 become the replacement character.
  mutating func string(_ text: UnsafeRawBufferPointer?) {
    bytes.append(UInt8(ascii: "\""))
    let repaired = text.map { String(decoding: $0, as: UTF8.self) } ?? ""
    for byte in repaired.utf8 {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        bytes.append(UInt8(ascii: "\\"))
        bytes.append(byte)
      case 0x0A: bytes.append(contentsOf: [UInt8(ascii: "\\"), UInt8(ascii: "n")])
      case 0x0D: bytes.append(contentsOf: [UInt8(ascii: "\\"), UInt8(ascii: "r")])
      case 0x09: bytes.append(contentsOf: [UInt8(ascii: "\\"), UInt8(ascii: "t")])
      case 0..<0x20, 0x7F:
        let digits = Array("0123456789abcdef".utf8)
        bytes.append(contentsOf: Array("\\u00".utf8))
        bytes.append(digits[Int(byte >> 4)])
        bytes.append(digits[Int(byte & 15)])
      default: bytes.append(byte)
      }
    }
    bytes.append(UInt8(ascii: "\""))
  }
}
