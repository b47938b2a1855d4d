import BulkheadChain
import BulkheadCore
import BulkheadWire
import Glibc

/// What is wrong with a message: it cannot be read, or only in two ways.
struct HTTPFault: Error, Equatable {
  /// The status of the answer where a client sent it; an upstream's fault is a 502.
  var status: Int
  var reason: StaticString

  init(_ status: Int, _ reason: StaticString) {
    self.status = status
    self.reason = reason
  }

  static func == (left: HTTPFault, right: HTTPFault) -> Bool {
    left.status == right.status && left.reason.bytes.equals(right.reason)
  }
}

/// Reads the head of an HTTP/1.1 message in place (RFC 9112, sections 2 to 5): total, and stricter than the RFC allows.
///
/// Every line ends with CR LF, a name is a token with the colon right behind it, a value has no control character but the
/// tab, there is no folding, nothing is guessed: what two readers could take in two ways is refused, so that nobody
/// behind this front can be made to see another message than its plugins did.
enum HeadParser {
  /// The offset behind the empty line that ends a head, or nil until more bytes come.
  ///
  /// - Parameter start: where to go on looking; what lies before was looked at, but for the last three bytes.
  /// - Throws: `HTTPFault` where a line ends without CR: the head's end would never come.
  static func end(of bytes: UnsafeRawBufferPointer, from start: Int) throws(HTTPFault) -> Int? {
    guard let base = bytes.baseAddress else { return nil }
    var at = max(start - 3, 0)
    while at < bytes.count {
      guard let found = memchr(base + at, 0x0A, bytes.count &- at) else { return nil }
      let index = UnsafeRawPointer(found) - base
      guard index >= 1, bytes[index &- 1] == 0x0D else {
        throw HTTPFault(400, "a line of its header does not end with CR LF")
      }
      if index >= 3, bytes[index &- 2] == 0x0A, bytes[index &- 3] == 0x0D { return index &+ 1 }
      at = index &+ 1
    }
    return nil
  }

  /// The parts of a request line; they lie in the head.
  struct RequestLine {
    var method: UnsafeRawBufferPointer
    var target: UnsafeRawBufferPointer
    var isVersion10: Bool
    /// Where the fields begin.
    var fields: Int
  }

  /// Reads `METHOD SP TARGET SP HTTP/1.x`.
  static func requestLine(_ head: UnsafeRawBufferPointer) throws(HTTPFault) -> RequestLine {
    let line = try firstLine(head)
    guard let first = line.index(of: 0x20, from: 0), first > 0, first <= 32 else {
      throw HTTPFault(400, "its request line is malformed")
    }
    let method = UnsafeRawBufferPointer(rebasing: line[..<first])
    guard ASCII.isToken(method) else { throw HTTPFault(400, "its method is malformed") }
    guard let second = line.index(of: 0x20, from: first &+ 1) else {
      throw HTTPFault(400, "its request line is malformed")
    }
    let target = UnsafeRawBufferPointer(rebasing: line[(first &+ 1)..<second])
    guard RequestGrammar.isTarget(target) else { throw HTTPFault(400, "its target is malformed") }
    let version = UnsafeRawBufferPointer(rebasing: line[(second &+ 1)...])
    return RequestLine(
      method: method, target: target, isVersion10: try isVersion10(version), fields: line.count &+ 2)
  }

  /// The parts of a status line.
  struct StatusLine {
    var status: Int
    var isVersion10: Bool
    var fields: Int
  }

  /// Reads `HTTP/1.x SP 3DIGIT [SP reason]`.
  static func statusLine(_ head: UnsafeRawBufferPointer) throws(HTTPFault) -> StatusLine {
    let line = try firstLine(head)
    guard line.count >= 12, line[8] == 0x20, line.count == 12 || line[12] == 0x20 else {
      throw HTTPFault(502, "its status line is malformed")
    }
    let old = try isVersion10(UnsafeRawBufferPointer(rebasing: line[..<8]))
    guard let status = ASCII.number(UnsafeRawBufferPointer(rebasing: line[9..<12])), (100...599).contains(status) else {
      throw HTTPFault(502, "its status is malformed")
    }
    guard HeaderRules.isValue(line) else { throw HTTPFault(502, "its status line is malformed") }
    return StatusLine(status: Int(status), isVersion10: old, fields: line.count &+ 2)
  }

  private static func firstLine(_ head: UnsafeRawBufferPointer) throws(HTTPFault) -> UnsafeRawBufferPointer {
    guard let end = head.index(of: 0x0A, from: 0), end > 0, head[end &- 1] == 0x0D else {
      throw HTTPFault(400, "its first line is malformed")
    }
    return UnsafeRawBufferPointer(rebasing: head[..<(end &- 1)])
  }

  private static func isVersion10(_ version: UnsafeRawBufferPointer) throws(HTTPFault) -> Bool {
    if version.equals("HTTP/1.1") { return false }
    if version.equals("HTTP/1.0") { return true }
    try checkMinorVersion(version)
    return false
  }

  /// A later minor version is the newest one that is known here (RFC 9110, 2.5); what is no version at all is another fault
  /// than a major version that is not offered.
  @inline(never)
  private static func checkMinorVersion(_ version: UnsafeRawBufferPointer) throws(HTTPFault) {
    guard version.count == 8, UnsafeRawBufferPointer(rebasing: version[..<5]).equals("HTTP/"),
      version[5] &- 0x30 < 10, version[6] == UInt8(ascii: "."), version[7] &- 0x30 < 10
    else { throw HTTPFault(400, "its first line is malformed") }
    guard version[5] == UInt8(ascii: "1") else { throw HTTPFault(505, "its version is not HTTP/1.1 or HTTP/1.0") }
  }

  /// Calls `body` with the name, as it stands there, and the value, without the white space around it, of each field.
  ///
  /// - Parameters:
  ///   - head: a whole head or trailer section: its last line is empty.
  ///   - start: where the fields begin.
  ///   - limit: the most fields.
  static func fields(
    _ head: UnsafeRawBufferPointer, from start: Int, limit: Int,
    _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws(HTTPFault) -> Void
  ) throws(HTTPFault) {
    var at = start
    var count = 0
    while true {
      guard let end = head.index(of: 0x0A, from: at), end > at, head[end &- 1] == 0x0D else {
        throw HTTPFault(400, "a header's line does not end with CR LF")
      }
      if end &- 1 == at { return }
      count &+= 1
      guard count <= limit else { throw HTTPFault(431, "it has too many headers") }
      let (name, value) = try field(head, from: at, to: end &- 1)
      try body(name, value)
      at = end &+ 1
    }
  }

  /// The name and the value of the field whose line lies there, without the line's end.
  @inline(__always)
  static func field(
    _ head: UnsafeRawBufferPointer, from at: Int, to last: Int
  ) throws(HTTPFault) -> (name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
    var colon = at
    while colon < last, ASCII.isToken(head[colon]) { colon &+= 1 }
    guard colon > at, colon < last, head[colon] == 0x3A else { throw HTTPFault(400, "a header's name is malformed") }
    var first = colon &+ 1
    var stop = last
    while first < stop, ASCII.isBlank(head[first]) { first &+= 1 }
    while stop > first, ASCII.isBlank(head[stop &- 1]) { stop &-= 1 }
    let value = UnsafeRawBufferPointer(rebasing: head[first..<stop])
    guard HeaderRules.isValue(value) else { throw HTTPFault(400, "a header's value has a control character") }
    return (UnsafeRawBufferPointer(rebasing: head[at..<colon]), value)
  }
}

extension UnsafeRawBufferPointer {
  /// The first place of a byte at or behind `start`.
  @inline(__always)
  func index(of byte: UInt8, from start: Int) -> Int? {
    guard let base = baseAddress, start >= 0, start < count,
      let found = memchr(base + start, Int32(byte), count &- start)
    else { return nil }
    return UnsafeRawPointer(found) - base
  }
}
