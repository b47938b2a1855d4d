/// The address of a TCP socket, as people write it: `127.0.0.1:8080`, `backend.local:8080`, `[::1]:8080`.
public struct NetworkAddress: Hashable, Sendable, CustomStringConvertible {
  /// An IPv4 address, an IPv6 address (without brackets), or a name. Sockets take none at all too: every address of this
  /// machine.
  public var host: String
  /// 0 lets the kernel pick one, where it is to be listened at.
  public var port: UInt16

  /// Nothing is checked; `init(parsing:)` does.
  public init(host: String, port: UInt16) {
    self.host = host
    self.port = port
  }

  /// `host:port`; an IPv6 address stands in brackets.
  public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

  /// Whether this machine alone can reach it; false where the host is a name other than `localhost`.
  public var isLoopback: Bool {
    if Self.isIPv4(host) { return host.hasPrefix("127.") }
    // All of its digits are zero, but for a one at the end.
    if Self.isIPv6(host) { return host.last == "1" && host.dropLast().allSatisfy { "0:.".contains($0) } }
    return host == "localhost"
  }

  /// Why a text is no address. For people.
  public struct Malformed: Error, Equatable, Sendable {
    /// What is wrong and what would be right.
    public var message: String
  }

  /// Reads `host:port`.
  ///
  /// - Throws: `Malformed` that says what is wrong and what would be right.
  public init(parsing text: String) throws(Malformed) {
    let wanted = "must be host:port, for example 127.0.0.1:8080 or [::1]:8080"
    guard let colon = text.lastIndex(of: ":") else { throw Malformed(message: "\(wanted): '\(text)' has no port") }
    let digits = text[text.index(after: colon)...]
    // UInt16.init takes a sign too.
    guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = UInt16(digits) else {
      throw Malformed(message: "\(wanted): the port must be a number from 0 to 65535, not '\(digits)'")
    }
    var host = String(text[..<colon])
    if host.hasPrefix("["), host.hasSuffix("]") {
      host = String(host.dropFirst().dropLast())
      guard Self.isIPv6(host) else { throw Malformed(message: "\(wanted): '\(host)' is no IPv6 address") }
    } else if host.contains(":") {
      throw Malformed(message: "\(wanted): an IPv6 address stands in brackets")
    } else if host.isEmpty || host == "*" {
      throw Malformed(message: "\(wanted): for every address of this machine write 0.0.0.0:\(port) or [::]:\(port)")
    } else if !Self.isHost(host) {
      throw Malformed(message: "\(wanted): '\(host)' is neither an address nor a host's name")
    }
    self.init(host: host, port: port)
  }

  /// Whether the text is an IPv4 address, an IPv6 address without brackets, or a name.
  public static func isHost(_ text: String) -> Bool { isIPv4(text) || isIPv6(text) || isName(text) }

  private static func isIPv4(_ text: String) -> Bool { RequestGrammar.isIPv4(text.utf8.span) }

  private static func isIPv6(_ text: String) -> Bool { RequestGrammar.isIPv6(text.utf8.span) }

  /// RFC 1123, section 2.1; a name whose last label is a number would be taken for an address by some resolvers.
  private static func isName(_ text: String) -> Bool {
    let labels = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard text.utf8.count <= 253, let last = labels.last else { return false }
    return labels.allSatisfy(isLabel) && !last.allSatisfy { (0x30...0x39).contains($0) }
  }

  private static func isLabel(_ label: Substring.UTF8View) -> Bool {
    guard (1...63).contains(label.count), label.first != 0x2D, label.last != 0x2D else { return false }
    return label.allSatisfy {
      (0x30...0x39).contains($0) || (0x41...0x5A).contains($0) || (0x61...0x7A).contains($0) || $0 == 0x2D
    }
  }
}
