/// Which fields may stand in the header maps of a message.
///
/// Asked twice, by the same code: a worker asks for its plugin, whose mistake is answered where it was made, and the front
/// asks of every edit that it does, since it trusts no worker. The front asks of what clients and upstreams send too.
public enum HeaderRules {
  /// What the fields are those of.
  public enum Map: Sendable {
    /// A request.
    case request
    /// A response.
    case response
    /// A call out: a request whose `:authority` may be empty, and whose `:scheme` is its upstream's, whatever it says.
    case call
    /// The extra headers of a local response: no pseudo-headers.
    case localResponse
    /// No pseudo-headers either.
    case trailers
  }

  /// The longest name, in bytes.
  private static let longestName = 1 << 16

  /// Whether the bytes can be a header's name, other than a pseudo-header's: a token (RFC 9110, 5.1).
  public static func isName(_ bytes: UnsafeRawBufferPointer) -> Bool {
    unsafe bytes.count <= longestName && ASCII.isToken(bytes)
  }

  /// Whether the byte can stand in a header's value (RFC 9110, 5.5): no control character but the tab.
  @inline(__always)
  public static func isValue(_ byte: UInt8) -> Bool { (byte >= 0x20 && byte != 0x7F) || byte == 0x09 }

  /// Whether the bytes can be a header's value.
  public static func isValue(_ bytes: UnsafeRawBufferPointer) -> Bool { unsafe bytes.allSatisfy { isValue($0) } }

  /// Whether the name is a pseudo-header's, or would be one.
  @inline(__always)
  public static func isPseudo(_ name: UnsafeRawBufferPointer) -> Bool { unsafe name.first == UInt8(ascii: ":") }

  /// Whether the field may stand in the map.
  ///
  /// - Parameter name: in whatever case.
  public static func allows(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, in map: Map) -> Bool {
    guard unsafe isPseudo(name) else { return unsafe isName(name) && isValue(value) }
    return unsafe PseudoHeader(name).map { unsafe allows($0, value, in: map) } ?? false
  }

  /// Whether the pseudo-header may stand in the map with that value.
  public static func allows(_ name: PseudoHeader, _ value: UnsafeRawBufferPointer, in map: Map) -> Bool {
    switch (map, name) {
    // A tunnel cannot be made of a request any more.
    case (.request, .method), (.call, .method): unsafe ASCII.isToken(value) && !value.equalsIgnoringCase("connect")
    case (.request, .scheme): unsafe isInLowerCase(value) && isScheme(value)
    case (.call, .scheme): unsafe isScheme(value)
    case (.request, .authority): unsafe RequestGrammar.isHost(value)
    case (.call, .authority): unsafe value.isEmpty || RequestGrammar.isHost(value)
    case (.request, .path), (.call, .path): unsafe RequestGrammar.isPath(value)
    case (.response, .status): unsafe isFinalStatus(value)
    case (.request, .status), (.call, .status), (.response, _), (.localResponse, _), (.trailers, _): false
    }
  }

  private static func isScheme(_ value: UnsafeRawBufferPointer) -> Bool {
    unsafe value.equalsIgnoringCase("http") || value.equalsIgnoringCase("https")
  }

  private static func isInLowerCase(_ bytes: UnsafeRawBufferPointer) -> Bool {
    unsafe bytes.allSatisfy { ASCII.lower($0) == $0 }
  }

  /// Whether the bytes are the status of a response that others do not follow: 200 to 599.
  private static func isFinalStatus(_ value: UnsafeRawBufferPointer) -> Bool {
    guard value.count == 3, let status = unsafe ASCII.number(value) else { return false }
    return (200...599).contains(status)
  }
}

/// The pseudo-headers of a map, which stand first in it.
public enum PseudoHeader: Sendable, CaseIterable {
  /// By their names: the first four stand in a request, the last one in a response.
  case method, scheme, authority, path, status

  /// - Parameter name: with its colon, in whatever case.
  /// - Returns: nil where it is none of them.
  public init?(_ name: UnsafeRawBufferPointer) {
    for header in Self.allCases where unsafe name.equalsIgnoringCase(header.text) {
      self = header
      return
    }
    return nil
  }

  /// The name, with its colon.
  public var text: StaticString {
    switch self {
    case .method: ":method"
    case .scheme: ":scheme"
    case .authority: ":authority"
    case .path: ":path"
    case .status: ":status"
    }
  }
}
