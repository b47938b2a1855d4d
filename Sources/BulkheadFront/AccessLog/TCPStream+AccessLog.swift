import BulkheadSystem

extension AccessLog {
  /// The line of a connection that is over.
  func write(_ stream: TCPStream) {
    add { line in
      line.member("start_time")
      line.string(LogTime.text(nanoseconds: stream.startedAt))
      line.member("listener")
      line.string(stream.listenerName)
      line.member("client", text: stream.clientAddress)
      line.member("protocol")
      line.string("TCP")
      line.member("bytes_in", stream.bytesFromClient)
      line.member("bytes_out", stream.bytesToClient)
      line.member("duration_us", (Clock.monotonicNanoseconds &- stream.startedMonotonic) / 1_000)
      line.member("upstream", text: stream.pool.nameBytes)
      if let peer = stream.peer { line.member("endpoint", text: peer.address) }
      line.end(flags: stream.flags, details: stream.details, plugin: stream.concerned, of: stream.chain)
      for field in fields {
        if let value = field.value(among: stream.pluginProperties) {
          line.member(field.name, text: value)
          continue
        }
        switch field.source {
        case .clusterName: line.member(field.name, text: stream.pool.nameBytes)
        case .upstreamAddress:
          if let peer = stream.peer { line.member(field.name, text: peer.address) }
        case .destinationAddress: line.member(field.name, text: UpstreamPeer.text(stream.client?.localAddress))
        case .listenerDirection: line.member(field.name, 1)
        case .requestHeader, .responseHeader, .scheme, .host, .userAgent, .referer, .plugin: break
        }
      }
    }
  }
}
