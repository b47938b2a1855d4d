/// Foreign text in a line of log: total, and in one line whatever it is.
enum LogText {
  /// A field's value: as it is where it is one plain word, else in quotes.
  static func token(_ value: String) -> String {
    let plain =
      !value.isEmpty
      && value.utf8.allSatisfy { byte in
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
        case UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: ":"), UInt8(ascii: "/"),
          UInt8(ascii: "@"), UInt8(ascii: "+"):
          true
        default: false
        }
      }
    return plain ? value : "\"\(escaped(value, quoted: true))\""
  }

  /// Text without anything that ends a line, speaks to a terminal or hides.
  static func escaped(_ text: String, quoted: Bool) -> String {
    var result = ""
    result.reserveCapacity(text.utf8.count)
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\n": result += "\\n"
      case "\r": result += "\\r"
      case "\t": result += "\\t"
      case "\"" where quoted: result += "\\\""
      case "\\" where quoted: result += "\\\\"
      case _ where isControl(scalar): result += "\\u{\(String(scalar.value, radix: 16))}"
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }

  /// A string of JSON, with its quotes.
  static func json(_ text: String) -> String {
    var result = "\""
    result.reserveCapacity(text.utf8.count + 2)
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": result += "\\\""
      case "\\": result += "\\\\"
      case "\n": result += "\\n"
      case "\r": result += "\\r"
      case "\t": result += "\\t"
      case _ where isControl(scalar):
        for unit in String(scalar).utf16 {
          let digits = String(unit, radix: 16)
          result += "\\u" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
        }
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result + "\""
  }

  /// `3.214ms`.
  static func milliseconds(_ microseconds: UInt64) -> String {
    let rest = String(microseconds % 1_000)
    return "\(microseconds / 1_000).\(String(repeating: "0", count: 3 - rest.utf8.count))\(rest)ms"
  }

  /// C0, DEL, C1, the separators of Unicode, and what has no width, reorders text on a screen or hides in it.
  private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0...0x1F, 0x7F...0x9F, 0xAD, 0x61C, 0x180E, 0x200B...0x200F, 0x2028...0x202E, 0x2060...0x206F, 0xFEFF,
      0xFFF9...0xFFFB, 0xE0000...0xE0FFF:
      true
    default: false
    }
  }
}
