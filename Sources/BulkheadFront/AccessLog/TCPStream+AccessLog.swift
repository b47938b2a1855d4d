import BulkheadChain

extension AccessLog {
  /// The line of a connection that is over.
  func write(_ connection: TCPStream) {
    add { line in
      line.begin(connection.record, listener: connection.listenerName)
      line.member("client", text: connection.clientAddress)
      line.member("protocol")
      line.string("TCP")
      line.end(connection.record, upstream: connection.pool.nameBytes, connection.peer, connection.chain)
      for field in fields {
        if let value = field.value(among: connection.stream.properties.list) {
          line.member(field.name, text: value)
          continue
        }
        switch field.source {
        case .clusterName: line.member(field.name, text: connection.pool.nameBytes)
        case .upstreamAddress:
          if let peer = connection.peer { line.member(field.name, text: peer.address) }
        case .destinationAddress: line.member(field.name, text: UpstreamPeer.text(connection.client?.localAddress))
        case .listenerDirection: line.member(field.name, 1)
        case .requestHeader, .responseHeader, .scheme, .host, .userAgent, .referer, .plugin: break
        }
      }
    }
  }
}
