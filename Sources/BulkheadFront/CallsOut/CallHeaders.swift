import BulkheadChain
import BulkheadCore
import BulkheadWire

/// Headers or trailers of a call out, names in lower case, pseudo-headers first.
typealias CallHeaders = [(name: String, value: String)]

/// A call that is not made, since what the plugin asks for is no request. `reason` is for people.
struct CallRefusal: Error {
  var reason: String
}

/// The head of a request that a call out makes.
struct CallHead {
  var method: String
  var path: String
  var authority: String
  /// Names in lower case; nothing that frames the message, nothing of one connection alone.
  var fields: CallHeaders

  /// What it keeps, as `OutgoingCall.hold` counts it.
  var heldBytes: Int {
    method.utf8.count &+ path.utf8.count &+ authority.utf8.count &+ CallPairs.heldBytes(fields)
  }

  init(method: String, path: String, authority: String, fields: CallHeaders = []) {
    self.method = method
    self.path = path
    self.authority = authority
    self.fields = fields
  }

  /// The head as a transport sends it. The scheme is the transport's.
  var map: HeaderMap {
    let map = HeaderMap()
    map.append(":method", method, name: .method)
    map.append(":authority", authority, name: .authority)
    map.append(":path", path, name: .path)
    for field in fields {
      var (name, value) = field
      name.withUTF8 { name in
        value.withUTF8 { _ = map.appendParsed(UnsafeRawBufferPointer(name), UnsafeRawBufferPointer($0)) }
      }
    }
    return map
  }

  /// Reads the headers of `proxy_http_call`.
  ///
  /// - Throws: `CallRefusal` where `:method`, `:path` or `:authority` is missing, or a header cannot stand in a request.
  init(_ pairs: PairsView) throws(CallRefusal) {
    self.init(method: "", path: "", authority: "")
    var host = ""
    // An empty one is one: plugins that care for no host say so, and Envoy sends it.
    var hasAuthority = false
    try pairs.forEach({ (key, value) throws(CallRefusal) in
      let lower = key.map { ASCII.lower($0) }
      switch lower.withUnsafeBytes({ HeaderName($0) }) {
      case .method:
        guard HeaderRules.allows(.method, value, in: .call) else {
          throw CallRefusal(
            reason: value.equalsIgnoringCase("connect")
              ? "CONNECT is not offered to calls out" : "its :method is no method")
        }
        method = String(decoding: value, as: UTF8.self)
      case .path:
        guard HeaderRules.allows(.path, value, in: .call) else { throw CallRefusal(reason: "its :path is no path") }
        path = try Self.text(value, of: ":path")
      case .authority:
        guard HeaderRules.allows(.authority, value, in: .call) else {
          throw CallRefusal(reason: "its :authority is no host")
        }
        hasAuthority = true
        // `host` counts only where the plugin gave no `:authority`.
        if key.first == UInt8(ascii: ":") {
          authority = try Self.text(value, of: ":authority")
        } else {
          host = try Self.text(value, of: "host")
        }
      // The scheme is the upstream's. What frames the message, and who calls, is set here.
      case .scheme, .contentLength, .expect, .pluginMark: break
      case let name where name.isHopByHop: break
      default: fields.append(try Self.field(lower, value))
      }
    })
    if authority.isEmpty { authority = host }
    guard !method.isEmpty, !path.isEmpty, hasAuthority else {
      throw CallRefusal(reason: "it has no \(method.isEmpty ? ":method" : path.isEmpty ? ":path" : ":authority")")
    }
  }

  /// Reads trailers, or metadata: what has no place there is left out.
  ///
  /// - Parameter isBinaryAllowed: the value of a name that ends in `-bin` may be any bytes: what no header can carry is
  ///   sent in base64, as gRPC has it.
  static func fields(_ pairs: PairsView, isBinaryAllowed: Bool = false) throws(CallRefusal) -> CallHeaders {
    var fields: CallHeaders = []
    try pairs.forEach({ (key, value) throws(CallRefusal) in
      let lower = key.map { ASCII.lower($0) }
      let name = lower.withUnsafeBytes { HeaderName($0) }
      guard !name.isPseudo, !name.isOfFront else { return }
      if isBinaryAllowed, lower.suffix(4).elementsEqual("-bin".utf8), !isText(value) {
        fields.append((try self.name(lower), Base64.encode(value)))
      } else {
        fields.append(try field(lower, value))
      }
    })
    return fields
  }

  private static func field(
    _ name: [UInt8], _ value: UnsafeRawBufferPointer
  ) throws(CallRefusal) -> (name: String, value: String) {
    let name = try self.name(name)
    return (name, try text(value, of: name))
  }

  private static func name(_ name: [UInt8]) throws(CallRefusal) -> String {
    let text = String(decoding: name, as: UTF8.self)
    guard name.withUnsafeBytes({ HeaderRules.isName($0) }) else {
      throw CallRefusal(reason: "no header can have the name '\(text.prefix(64))'")
    }
    return text
  }

  private static func isText(_ value: UnsafeRawBufferPointer) -> Bool {
    HeaderRules.isValue(value) && String(validating: value, as: UTF8.self) != nil
  }

  private static func text(_ value: UnsafeRawBufferPointer, of name: String) throws(CallRefusal) -> String {
    guard HeaderRules.isValue(value), let text = String(validating: value, as: UTF8.self) else {
      throw CallRefusal(reason: "the value of its header \(name) has bytes that no header carries, or is not UTF-8")
    }
    return text
  }
}

/// Headers of a response as serialized pairs.
enum CallPairs {
  /// The most of one head, and of one block of trailers: bytes of names and values, and how many.
  static let maximumBytes = 60 << 10
  static let maximumCount = Limits.maximumPairs - 8

  /// All entries of a map.
  static func headers(_ map: HeaderMap) -> CallHeaders {
    map.entries.map {
      (String(decoding: map.key($0), as: UTF8.self), String(decoding: map.value($0), as: UTF8.self))
    }
  }

  /// Trailers as a transport sends them.
  static func trailers(_ headers: CallHeaders) -> Trailers { headers.map { ($0.name, [UInt8]($0.value.utf8)) } }

  /// The bytes of names and values.
  static func byteCount(_ headers: CallHeaders) -> Int {
    headers.reduce(0) { $0 &+ $1.name.utf8.count &+ $1.value.utf8.count }
  }

  /// What headers keep, as `OutgoingCall.hold` counts it: two strings each beside their bytes.
  static func heldBytes(_ headers: CallHeaders) -> Int { byteCount(headers) &+ headers.count &* 64 }

  static func fits(_ headers: CallHeaders) -> Bool {
    headers.count <= maximumCount && byteCount(headers) <= maximumBytes
  }

  /// The bytes that `serialize` writes.
  static func serializedSize(_ headers: CallHeaders) -> Int {
    headers.isEmpty ? 0 : 4 &+ headers.count &* 10 &+ byteCount(headers)
  }

  /// Calls `body` with the headers as serialized pairs: no bytes where there is none.
  static func serialize<Result>(_ headers: CallHeaders, _ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    guard !headers.isEmpty else { return body(UnsafeRawBufferPointer(start: nil, count: 0)) }
    var writer = WireWriter(capacity: serializedSize(headers))
    var cursor = writer.beginPairs(count: headers.count)
    for header in headers { writer.addPair(&cursor, header.name, header.value) }
    return body(writer.bytes)
  }

  /// What of a response's headers is for the plugin: nothing that speaks about one connection alone.
  static func forPlugin(_ headers: CallHeaders) -> CallHeaders {
    headers.filter { header in
      var name = header.name
      return !name.withUTF8 { HeaderName(UnsafeRawBufferPointer($0)).isHopByHop }
    }
  }
}

/// RFC 4648, 4, without padding, as gRPC sends binary metadata.
enum Base64 {
  private static let digits = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)

  static func encode(_ bytes: UnsafeRawBufferPointer) -> String {
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count / 3 * 4 + 4)
    var bits: UInt32 = 0
    var count = 0
    for byte in bytes {
      bits = bits << 8 | UInt32(byte)
      count += 8
      while count >= 6 {
        count -= 6
        result.append(digits[Int(bits >> UInt32(count)) & 63])
      }
      bits &= 63
    }
    if count > 0 { result.append(digits[Int(bits << UInt32(6 - count)) & 63]) }
    return String(decoding: result, as: UTF8.self)
  }
}
