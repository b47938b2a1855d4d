import BulkheadChain
import BulkheadCore
import BulkheadWire

/// What the head of an HTTP/1.1 request says, beside its fields.
struct RequestHead {
  var framing = HTTP1Framing.none
  var isHead = false
  var isVersion10 = false
  /// The client does not ask for the connection's end.
  var keepsAlive = true
  /// The client sends the body once it is told to.
  var awaitsContinue = false
  fileprivate(set) var gateway = GatewayHeaders()

  /// Reads it, and fills the map with its fields: nothing that belongs to one connection alone is left in it.
  ///
  /// - Parameters:
  ///   - map: an empty one.
  ///   - maximumFields: the most fields.
  ///   - maximumBody: the most that its body may say to have, in bytes; 0 for no bound.
  /// - Throws: `HTTPFault` where it is no request that is taken.
  init(
    _ head: UnsafeRawBufferPointer, into map: HeaderMap, maximumFields: Int, maximumBody: UInt64
  ) throws(HTTPFault) {
    let line = try HeadParser.requestLine(head)
    isHead = line.method.equals("HEAD")
    isVersion10 = line.isVersion10
    keepsAlive = !isVersion10
    map.append(":method", line.method, name: .method)
    map.append(":scheme", "http" as StaticString, name: .scheme)
    map.append(":authority", "" as StaticString, name: .authority)
    map.append(":path", line.target, name: .path)
    var hosts = 0
    var length: UInt64?
    var isChunked = false
    var hasHopByHop = false
    var takesTrailers = false
    try HeadParser.fields(head, from: line.fields, limit: maximumFields) { (key, value) throws(HTTPFault) in
      switch map.appendParsed(key, value) {
      case .other, .date, .trailer: break
      case .authority:
        hosts += 1
        guard value.isEmpty || RequestGrammar.isHost(value) else {
          throw HTTPFault(400, "the host header is not a host with or without a port")
        }
        map.setValue(at: 2, value)
        map.removeLast()
      case .contentLength:
        guard let number = ASCII.number(value) else { throw HTTPFault(400, "content-length is not a number") }
        if let length {
          guard length == number else { throw HTTPFault(400, "content-length is there twice") }
          map.removeLast()
        }
        length = number
      case .transferEncoding:
        guard !isChunked, value.equalsIgnoringCase("chunked") else {
          throw HTTPFault(501, "the only transfer-encoding that is understood is chunked")
        }
        isChunked = true
        hasHopByHop = true
      case .expect:
        guard value.equalsIgnoringCase("100-continue") else {
          throw HTTPFault(417, "the only expectation that is understood is 100-continue")
        }
        awaitsContinue = !isVersion10
        map.removeLast()
      case .connection:
        value.forEachListElement { element in
          if element.equalsIgnoringCase("close") { keepsAlive = false }
          if element.equalsIgnoringCase("keep-alive"), isVersion10 { keepsAlive = true }
        }
        hasHopByHop = true
      // A client is no plugin.
      case .pluginMark: map.removeLast()
      case .requestID: gateway.hasID = true
      case .forwardedFor: gateway.forwardedFor = map.entries.count - 1
      case .forwardedProto: gateway.hasProto = true
      case .te:
        if !isVersion10 {
          value.forEachListElement { if $0.equalsIgnoringCase("trailers") { takesTrailers = true } }
        }
        hasHopByHop = true
      // A request that may change the protocol is answered as if it did not ask.
      case .upgrade, .keepAlive, .proxyConnection: hasHopByHop = true
      case .method, .scheme, .path, .status: throw HTTPFault(400, "a header's name is malformed")
      }
    }
    if isChunked, length != nil {
      throw HTTPFault(400, "it has both content-length and transfer-encoding")
    }
    if isChunked, isVersion10 { throw HTTPFault(400, "HTTP/1.0 has no transfer-encoding") }
    if line.method.equals("CONNECT") { throw HTTPFault(405, "CONNECT is not offered here") }
    if hosts > 1 || (hosts == 0 && !isVersion10) {
      throw HTTPFault(400, hosts > 1 ? "it has more than one host header" : "it has no host header")
    }
    try Self.normaliseTarget(map)
    if isChunked {
      framing = .chunked
    } else if let length, length > 0 {
      framing = .length(length)
    }
    if maximumBody > 0, case .length(let length) = framing, length > maximumBody {
      throw HTTPFault(413, "its body is larger than limits.bodyBytes allows")
    }
    if framing == .none { awaitsContinue = false }
    if hasHopByHop { map.removeHopByHop() }
    // Trailers pass here, so that whoever takes them is told of to the upstream (RFC 9110, 10.1.4).
    if takesTrailers { map.append("te", "trailers" as StaticString, name: .te) }
    if gateway.forwardedFor >= 0, hasHopByHop {
      gateway.forwardedFor = map.entries.firstIndex { $0.name == .forwardedFor } ?? -1
    }
  }

  /// An absolute target (`GET http://host/path`) is taken apart: its host goes before the header's (RFC 9112, 3.2.2).
  private static func normaliseTarget(_ map: HeaderMap) throws(HTTPFault) {
    guard let target = map.value(of: .path) else { return }
    if target.first == UInt8(ascii: "/") { return }
    if target.equals("*") {
      let isOptions = map.value(of: .method)?.equals("OPTIONS") ?? false
      guard isOptions else { throw HTTPFault(400, "only OPTIONS may ask for *") }
      return
    }
    for scheme in ["http://", "https://"] as [StaticString] where target.count > scheme.utf8CodeUnitCount {
      let prefix = UnsafeRawBufferPointer(rebasing: target.prefix(scheme.utf8CodeUnitCount))
      guard prefix.equalsIgnoringCase(scheme) else { continue }
      let text = [UInt8](target.dropFirst(scheme.utf8CodeUnitCount))
      let end = text.firstIndex { $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "?") } ?? text.count
      guard text[..<end].withUnsafeBytes({ RequestGrammar.isHost($0) }) else {
        throw HTTPFault(400, "the host of its target is not a host with or without a port")
      }
      text[..<end].withUnsafeBytes { map.set(.authority, ":authority", $0) }
      var path = [UInt8](text[end...])
      if path.first != UInt8(ascii: "/") { path.insert(UInt8(ascii: "/"), at: 0) }
      path.withUnsafeBytes { map.set(.path, ":path", $0) }
      return
    }
    throw HTTPFault(400, "its target is malformed")
  }
}

/// The headers by which a gateway says who asked: what a client has said of them is added to, not replaced.
struct GatewayHeaders {
  var hasID = false
  /// The place of the client's `x-forwarded-for` in the map; -1 for none.
  var forwardedFor = -1
  var hasProto = false

  /// Adds what is missing.
  ///
  /// - Parameter client: its address.
  func add(to map: HeaderMap, client: [UInt8], random: inout RandomIDs) {
    if !hasID { random.withNewID { map.append("x-request-id", $0, name: .requestID) } }
    client.withUnsafeBytes { address in
      guard forwardedFor >= 0, forwardedFor < map.entries.count else {
        map.append("x-forwarded-for", address, name: .forwardedFor)
        return
      }
      let old = map.value(map.entries[forwardedFor])
      let joined = [UInt8](old) + [UInt8(ascii: ","), 0x20] + [UInt8](address)
      joined.withUnsafeBytes { map.setValue(at: forwardedFor, $0) }
    }
    if !hasProto { map.append("x-forwarded-proto", "http" as StaticString, name: .forwardedProto) }
  }
}
