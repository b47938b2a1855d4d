import BulkheadChain

extension AccessLog {
  /// The line of a request that is over.
  func write(_ exchange: Exchange) {
    let request = exchange.request
    add { line in
      line.begin(exchange.record, listener: exchange.connection.listenerName)
      exchange.connection.withClientAddress { line.member("client", text: $0) }
      line.member("protocol")
      line.string(exchange.connection.protocolName.bytes)
      for (name, header) in [
        ("request_id", HeaderName.requestID), ("method", .method), ("authority", .authority), ("path", .path),
      ] {
        if let value = request.value(of: header) { line.member(name, text: value) }
      }
      line.member("status", exchange.status)
      line.end(exchange.record, upstream: exchange.pool.nameBytes, exchange.attempt.peer, exchange.chain)
      for field in fields {
        // What a plugin set goes before what the front knows.
        if let value = field.value(among: exchange.stream.properties.list) {
          line.member(field.name, text: value)
        } else {
          write(field, of: exchange, into: &line)
        }
      }
    }
  }

  private func write(_ field: LoggedProperty, of exchange: Exchange, into line: inout JSONText) {
    if let value = field.value(among: exchange.stream.properties.list) {
      line.member(field.name, text: value)
      return
    }
    func header(_ name: [UInt8], _ map: HeaderMap) {
      let found = name.withUnsafeBytes { name in map.entries.first { map.key($0).equals(name) } }
      if let found { line.member(field.name, text: map.value(found)) }
    }
    switch field.source {
    case .requestHeader(let name): header(name, exchange.request)
    case .responseHeader(let name): header(name, exchange.response)
    case .scheme: header(Array(":scheme".utf8), exchange.request)
    case .host: header(Array(":authority".utf8), exchange.request)
    case .userAgent: header(Array("user-agent".utf8), exchange.request)
    case .referer: header(Array("referer".utf8), exchange.request)
    case .clusterName: line.member(field.name, text: exchange.pool.nameBytes)
    case .upstreamAddress:
      if let peer = exchange.attempt.peer { line.member(field.name, text: peer.address) }
    case .listenerDirection: line.member(field.name, 1)
    case .destinationAddress: line.member(field.name, text: exchange.connection.localAddress)
    case .plugin: break
    }
  }
}
