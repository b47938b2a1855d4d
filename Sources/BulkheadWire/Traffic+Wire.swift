import BulkheadCore

extension NetworkAddress: WireCodable {
  static var blank: NetworkAddress { NetworkAddress(host: "", port: 0) }

  mutating func code<Coder: WireCoder & ~Copyable>(_ coder: inout Coder) throws(Coder.Failure) {
    try coder.code(&host, "address.host")
    try coder.check(NetworkAddress.isHost(host), .malformed, "address.host")
    try coder.code(&port, "address.port")
  }
}

extension Listener.Kind: WireNumbered {}
extension Listener.ErrorDetails: WireNumbered {}

extension Listener: WireCodable {
  static var blank: Listener { Listener(name: "", address: .blank, upstream: "") }

  mutating func code<Coder: WireCoder & ~Copyable>(_ coder: inout Coder) throws(Coder.Failure) {
    try coder.code(&name, "listener.name")
    try coder.code(&address)
    try coder.code(&upstream, "listener.upstream")
    try coder.code(&kind, "listener.kind")
    try coder.code(&errorDetails, "listener.errorDetails")
  }
}

extension Upstream: WireCodable {
  /// Of one configuration, and endpoints of one upstream.
  static var maximumCount: Int { 65_536 }

  static var blank: Upstream { Upstream(name: "", kind: .echo) }

  mutating func code<Coder: WireCoder & ~Copyable>(_ coder: inout Coder) throws(Coder.Failure) {
    try coder.code(&name, "upstream.name")
    var (isEcho, endpoints) = (isEcho, endpoints)
    try coder.code(&isEcho, "upstream.isEcho")
    try coder.code(&endpoints, "upstream.endpoints", atMost: Self.maximumCount)
    try coder.check(!isEcho || endpoints.isEmpty, .malformed, "upstream.endpoints")
    kind = isEcho ? .echo : .endpoints(endpoints)
    try coder.code(&isHTTP2, "upstream.isHTTP2")
    try coder.code(&tls, "upstream.isTLS")
  }
}

extension Upstream.TLS: WireCodable {
  static var blank: Upstream.TLS { Upstream.TLS() }

  mutating func code<Coder: WireCoder & ~Copyable>(_ coder: inout Coder) throws(Coder.Failure) {
    try coder.code(&serverName, "tls.serverName")
    try coder.code(&authorities, "tls.authorities")
    try coder.code(&certificate, "tls.certificate")
    try coder.code(&privateKey, "tls.privateKey")
  }
}

extension AccessLogField: WireCodable {
  static var blank: AccessLogField { AccessLogField(name: "", property: "") }

  mutating func code<Coder: WireCoder & ~Copyable>(_ coder: inout Coder) throws(Coder.Failure) {
    try coder.code(&name, "field.name")
    try coder.code(&property, "field.property")
  }
}
