/// Cuts the text of a CEL expression into tokens. Total: any bytes are tokens or a `CELError`.
struct CELLexer {
  enum Token: Equatable {
    case end
    /// An operator or a bracket.
    case symbol(StaticSymbol)
    case identifier(String)
    case literal(CELValue)
    /// A whole number without a sign: whether it fits depends on a minus before it.
    case magnitude(UInt64)
  }

  enum StaticSymbol: String, CaseIterable {
    // Longer ones first: the first that fits is taken.
    case equal = "=="
    case notEqual = "!="
    case lessOrEqual = "<="
    case greaterOrEqual = ">="
    case and = "&&"
    case or = "||"
    case less = "<"
    case greater = ">"
    case plus = "+"
    case minus = "-"
    case times = "*"
    case divide = "/"
    case modulo = "%"
    case not = "!"
    case question = "?"
    case colon = ":"
    case comma = ","
    case dot = "."
    case open = "("
    case close = ")"
    case openBracket = "["
    case closeBracket = "]"
    case openBrace = "{"
    case closeBrace = "}"
  }

  private let text: [UInt8]
  private var at = 0

  init(_ text: UnsafeRawBufferPointer) { self.text = [UInt8](text) }

  private func byte(_ offset: Int = 0) -> UInt8 { at &+ offset < text.count ? text[at &+ offset] : 0 }

  private func has(_ word: String) -> Bool {
    let bytes = Array(word.utf8)
    return text.count &- at >= bytes.count && text[at..<(at &+ bytes.count)].elementsEqual(bytes)
  }

  mutating func next() throws(CELError) -> Token {
    skipSpace()
    guard at < text.count else { return .end }
    let first = byte()
    if first.isDigit || (first == UInt8(ascii: ".") && byte(1).isDigit) { return try number() }
    if let literal = try stringLiteral() { return .literal(literal) }
    if first.isLetter { return word() }
    for symbol in StaticSymbol.allCases where has(symbol.rawValue) {
      at &+= symbol.rawValue.utf8.count
      return .symbol(symbol)
    }
    throw CELError("unexpected character")
  }

  private mutating func skipSpace() {
    while at < text.count {
      if [0x20, 0x09, 0x0A, 0x0C, 0x0D].contains(byte()) {
        at &+= 1
      } else if has("//") {
        while at < text.count, byte() != 0x0A { at &+= 1 }
      } else {
        return
      }
    }
  }

  private mutating func word() -> Token {
    let start = at
    while byte().isLetter || byte().isDigit { at &+= 1 }
    let word = String(decoding: text[start..<at], as: UTF8.self)
    switch word {
    case "true": return .literal(.bool(true))
    case "false": return .literal(.bool(false))
    case "null": return .literal(.null)
    default: return .identifier(word)
    }
  }

  private mutating func number() throws(CELError) -> Token {
    let start = at
    if byte() == UInt8(ascii: "0"), byte(1) | 0x20 == UInt8(ascii: "x") {
      at &+= 2
      while byte().hexValue != nil { at &+= 1 }
      return try whole(String(decoding: text[(start &+ 2)..<at], as: UTF8.self), radix: 16)
    }
    var isDouble = false
    while byte().isDigit { at &+= 1 }
    if byte() == UInt8(ascii: "."), byte(1).isDigit {
      isDouble = true
      at &+= 1
      while byte().isDigit { at &+= 1 }
    }
    if byte() | 0x20 == UInt8(ascii: "e") {
      let sign = byte(1) == UInt8(ascii: "+") || byte(1) == UInt8(ascii: "-") ? 1 : 0
      if byte(1 &+ sign).isDigit {
        isDouble = true
        at &+= 1 &+ sign
        while byte().isDigit { at &+= 1 }
      }
    }
    let digits = String(decoding: text[start..<at], as: UTF8.self)
    guard isDouble else { return try whole(digits, radix: 10) }
    guard let value = Double(digits.hasPrefix(".") ? "0" + digits : digits) else {
      throw CELError("a number is malformed")
    }
    return .literal(.double(value))
  }

  private mutating func whole(_ digits: String, radix: Int) throws(CELError) -> Token {
    guard let value = UInt64(digits, radix: radix) else { throw CELError("a number is out of range") }
    guard byte() | 0x20 == UInt8(ascii: "u") else { return .magnitude(value) }
    at &+= 1
    return .literal(.uint(value))
  }

  // MARK: Strings

  /// A string or bytes in quotes, with the prefixes `r` and `b`; nil where none begins here.
  private mutating func stringLiteral() throws(CELError) -> CELValue? {
    var (isRaw, isBytes, prefix) = (false, false, 0)
    while prefix < 2 {
      let letter = byte(prefix) | 0x20
      if letter == UInt8(ascii: "r"), !isRaw {
        isRaw = true
      } else if letter == UInt8(ascii: "b"), !isBytes {
        isBytes = true
      } else {
        break
      }
      prefix &+= 1
    }
    let quote = byte(prefix)
    guard quote == UInt8(ascii: "\"") || quote == UInt8(ascii: "'") else { return nil }
    at &+= prefix
    let isTriple = byte(1) == quote && byte(2) == quote
    let quotes = isTriple ? 3 : 1
    at &+= quotes
    var value: [UInt8] = []
    while true {
      guard at < text.count else { throw CELError("a string has no end") }
      if byte() == quote, !isTriple || (byte(1) == quote && byte(2) == quote) {
        at &+= quotes
        return isBytes ? .bytes(value) : .string(value)
      }
      guard isTriple || byte() != 0x0A else { throw CELError("a string has no end") }
      if byte() == UInt8(ascii: "\\"), !isRaw {
        try escape(into: &value, isBytes: isBytes)
      } else {
        value.append(byte())
        at &+= 1
      }
    }
  }

  private mutating func escape(into value: inout [UInt8], isBytes: Bool) throws(CELError) {
    let letter = byte(1)
    at &+= 2
    switch letter {
    case UInt8(ascii: "n"): value.append(0x0A)
    case UInt8(ascii: "r"): value.append(0x0D)
    case UInt8(ascii: "t"): value.append(0x09)
    case UInt8(ascii: "a"): value.append(0x07)
    case UInt8(ascii: "b"): value.append(0x08)
    case UInt8(ascii: "f"): value.append(0x0C)
    case UInt8(ascii: "v"): value.append(0x0B)
    case UInt8(ascii: "\\"), UInt8(ascii: "\""), UInt8(ascii: "'"), UInt8(ascii: "`"), UInt8(ascii: "?"):
      value.append(letter)
    case UInt8(ascii: "x"), UInt8(ascii: "X"): try code(digits: 2, radix: 16, into: &value, isBytes: isBytes)
    case UInt8(ascii: "u") where !isBytes: try code(digits: 4, radix: 16, into: &value, isBytes: false)
    case UInt8(ascii: "U") where !isBytes: try code(digits: 8, radix: 16, into: &value, isBytes: false)
    case UInt8(ascii: "0")...UInt8(ascii: "3"):
      at &-= 1
      try code(digits: 3, radix: 8, into: &value, isBytes: isBytes)
    default: throw CELError("an escape in a string is unknown")
    }
  }

  /// A code point in a string, a byte in bytes.
  private mutating func code(
    digits: Int, radix: UInt32, into value: inout [UInt8], isBytes: Bool
  ) throws(CELError) {
    var number: UInt32 = 0
    for _ in 0..<digits {
      guard let digit = byte().hexValue, digit < radix else { throw CELError("an escape in a string is malformed") }
      number = number &* radix &+ digit
      at &+= 1
    }
    if isBytes {
      value.append(UInt8(truncatingIfNeeded: number))
    } else {
      guard let scalar = Unicode.Scalar(number) else { throw CELError("an escape in a string is no character") }
      value.append(contentsOf: Array(String(Character(scalar)).utf8))
    }
  }
}

/// Why a text is no expression, or a value cannot be had.
struct CELError: Error, Equatable {
  let reason: StaticString
  init(_ reason: StaticString) { self.reason = reason }
  static func == (left: CELError, right: CELError) -> Bool { left.reason.description == right.reason.description }
}

extension UInt8 {
  fileprivate var isDigit: Bool { self &- 0x30 < 10 }
  fileprivate var isLetter: Bool { (self | 0x20) &- 0x61 < 26 || self == UInt8(ascii: "_") }
  fileprivate var hexValue: UInt32? {
    if isDigit { return UInt32(self &- 0x30) }
    let letter = (self | 0x20) &- 0x61
    return letter < 6 ? UInt32(letter) &+ 10 : nil
  }
}
