import BulkheadCore

/// What can be said of a head of which only the beginning has come: one that no further bytes can make valid is refused at
/// once, whatever the sizes in which it came. Waiting for its end would show as a time-out, and tell nobody why.
enum HeadPrefix {
  enum Kind {
    case request
    case response
  }

  /// The longest method.
  private static let longestMethod = 32

  /// Looks at the bytes of a head that has no end yet, each of whose lines so far ends with CR LF.
  ///
  /// - Parameter start: how many of them were looked at before.
  /// - Throws: `HTTPFault` where they cannot become a head.
  static func check(_ bytes: UnsafeRawBufferPointer, from start: Int, of kind: Kind) throws(HTTPFault) {
    let start = min(max(start, 0), bytes.count)
    guard let firstEnd = bytes.index(of: 0x0A, from: 0) else { return try checkFirstLine(bytes, from: start, of: kind) }
    if firstEnd >= start {
      switch kind {
      case .request: _ = try HeadParser.requestLine(bytes)
      case .response: _ = try HeadParser.statusLine(bytes)
      }
    }
    var line = firstEnd &+ 1
    if start > line {
      line = start
      while bytes[line &- 1] != 0x0A { line &-= 1 }
    }
    while let end = bytes.index(of: 0x0A, from: max(line, start)) {
      _ = try HeadParser.field(bytes, from: line, to: end &- 1)
      line = end &+ 1
    }
    try checkField(bytes, line: line, from: max(line, start))
  }

  /// The first line has not ended.
  private static func checkFirstLine(
    _ bytes: UnsafeRawBufferPointer, from start: Int, of kind: Kind
  ) throws(HTTPFault) {
    switch kind {
    case .request:
      var at = 0
      while at < bytes.count, at <= longestMethod, bytes[at] != 0x20 {
        guard at < longestMethod, ASCII.isToken(bytes[at]) else { throw HTTPFault(400, "it is not HTTP/1.1") }
        at &+= 1
      }
      guard at > 0 || bytes.isEmpty else { throw HTTPFault(400, "it is not HTTP/1.1") }
    case .response:
      let expected: StaticString = "HTTP/1."
      for at in 0..<min(bytes.count, expected.utf8CodeUnitCount) where bytes[at] != expected.utf8Start[at] {
        throw HTTPFault(502, "it is not HTTP/1.1")
      }
    }
    try checkText(bytes, line: 0, from: start)
    guard kind == .request else { return }
    for at in start..<bytes.count where bytes[at] >= 0x7F || bytes[at] == 0x09 {
      throw HTTPFault(400, "its first line is malformed")
    }
  }

  /// A field's line has not ended.
  private static func checkField(_ bytes: UnsafeRawBufferPointer, line: Int, from start: Int) throws(HTTPFault) {
    // The empty line that ends the head, but for its last byte.
    if bytes.count == line &+ 1, bytes[line] == 0x0D { return }
    let colon = bytes.index(of: 0x3A, from: line)
    if colon.map({ $0 >= start }) ?? true {
      for at in start..<(colon ?? bytes.count) where !ASCII.isToken(bytes[at]) {
        throw HTTPFault(400, "a header's name is malformed")
      }
      if colon == line { throw HTTPFault(400, "a header's name is malformed") }
    }
    try checkText(bytes, line: line, from: start)
  }

  /// No control character but the tab, and a CR only where the LF may still come.
  private static func checkText(_ bytes: UnsafeRawBufferPointer, line: Int, from start: Int) throws(HTTPFault) {
    // The last byte of what was looked at may have been a CR that nothing has followed.
    for at in max(start &- 1, line)..<bytes.count where bytes[at] < 0x20 || bytes[at] == 0x7F {
      guard bytes[at] == 0x09 || (bytes[at] == 0x0D && at == bytes.count &- 1) else {
        throw HTTPFault(400, "its header has a control character")
      }
    }
  }
}
