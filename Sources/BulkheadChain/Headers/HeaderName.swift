import BulkheadCore

/// The header names that the front itself acts upon; every other name is `other`.
public enum HeaderName: UInt8, Sendable {
  /// A name that the front does not act upon.
  case other = 0
  /// The pseudo-headers of a map, which stand first in it.
  case method, scheme, authority, path, status
  /// Hop-by-hop headers: they end at each connection.
  case connection, keepAlive, proxyConnection, te, transferEncoding, upgrade
  /// What a message says of its trailers, which passes.
  case trailer
  /// What the front reads, or writes by itself.
  case contentLength, expect, requestID, forwardedFor, forwardedProto, date
  /// What the front puts into calls of plugins, and nobody else may say.
  case pluginMark

  /// Whether its name begins with a colon.
  public var isPseudo: Bool { rawValue >= HeaderName.method.rawValue && rawValue <= HeaderName.status.rawValue }

  /// Which pseudo-header it is; nil where it is none.
  var pseudo: PseudoHeader? {
    switch self {
    case .method: .method
    case .scheme: .scheme
    case .authority: .authority
    case .path: .path
    case .status: .status
    default: nil
    }
  }

  /// Headers that speak about one connection alone.
  public var isHopByHop: Bool { rawValue >= HeaderName.connection.rawValue && rawValue <= HeaderName.upgrade.rawValue }

  /// Whether it ends at this connection where `connection` lists it; what the front acts upon does not.
  var mayBeListed: Bool { self == .other || self == .te || self == .trailer || self == .date }

  /// Headers that say where a message ends: a plugin that could edit them could smuggle a request into the connection.
  var isFraming: Bool { isHopByHop || self == .contentLength }

  /// Headers that the front alone writes: edits of them by plugins are left out.
  public var isOfFront: Bool { isFraming || self == .pluginMark }

  /// The name's number. `host` is `authority`: Proxy-Wasm shows it as `:authority`.
  ///
  /// - Parameter name: in lower case.
  @inline(__always)
  public init(_ name: UnsafeRawBufferPointer) {
    switch name.count {
    case 2: self = name.equals("te") ? .te : .other
    case 4: self = name.equals("host") ? .authority : name.equals("date") ? .date : .other
    case 5: self = name.equals(":path") ? .path : .other
    case 6: self = name.equals("expect") ? .expect : .other
    case 7:
      if name.equals(":method") {
        self = .method
      } else if name.equals(":scheme") {
        self = .scheme
      } else if name.equals(":status") {
        self = .status
      } else if name.equals("trailer") {
        self = .trailer
      } else if name.equals("upgrade") {
        self = .upgrade
      } else {
        self = .other
      }
    case 10:
      if name.equals("connection") {
        self = .connection
      } else if name.equals("keep-alive") {
        self = .keepAlive
      } else if name.equals(":authority") {
        self = .authority
      } else {
        self = .other
      }
    case 12: self = name.equals("x-request-id") ? .requestID : .other
    case 14: self = name.equals("content-length") ? .contentLength : .other
    case 15: self = name.equals("x-forwarded-for") ? .forwardedFor : .other
    case 16: self = name.equals("proxy-connection") ? .proxyConnection : .other
    case 17:
      if name.equals("transfer-encoding") {
        self = .transferEncoding
      } else if name.equals("x-forwarded-proto") {
        self = .forwardedProto
      } else if name.isPluginMark {
        self = .pluginMark
      } else {
        self = .other
      }
    default: self = .other
    }
  }
}
