import BulkheadChain
import BulkheadSystem

extension AccessLog {
  /// The line of a connection that is over.
  func write(_ connection: TCPStream) {
    add { line in
      line.member("start_time")
      line.string(LogTime.text(nanoseconds: connection.startedAt))
      line.member("listener")
      line.string(connection.listenerName)
      line.member("client", text: connection.clientAddress)
      line.member("protocol")
      line.string("TCP")
      line.member("bytes_in", connection.bytesFromClient)
      line.member("bytes_out", connection.bytesToClient)
      line.member("duration_us", (Clock.monotonicNanoseconds &- connection.startedMonotonic) / 1_000)
      line.member("upstream", text: connection.pool.nameBytes)
      if let peer = connection.peer { line.member("endpoint", text: peer.address) }
      line.end(flags: connection.flags, details: connection.details, plugin: connection.concerned, of: connection.chain)
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
