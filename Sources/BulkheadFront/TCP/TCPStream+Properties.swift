import BulkheadChain
import BulkheadSystem
import BulkheadWire
import NIOCore

// What plugins are told of a connection.
extension TCPStream {
  func connectionProperties() -> UnsafeRawBufferPointer {
    if connectionBlock.count == 0 { makeConnectionBlock() }
    return connectionBlock.bytes
  }

  private func makeConnectionBlock() {
    let remote = client?.remoteAddress
    let local = client?.localAddress
    Self.write(
      [
        ("source\0address", UpstreamPeer.text(remote)), ("source\0port", Self.number(remote?.port)),
        ("destination\0address", UpstreamPeer.text(local)), ("destination\0port", Self.number(local?.port)),
        ("connection\0id", Self.number(Int(clamping: loop.connectionID()))), ("connection\0mtls", [0]),
        ("listener_name", Array(listenerName.utf8)), ("listener_direction", Self.number(1)),
      ], and: [], into: &connectionBlock)
  }

  func writeProperties(isFirst: Bool, isResponse: Bool, isDone: Bool, into writer: inout WireWriter) {
    var pairs: [(String, [UInt8])] = []
    if isFirst {
      pairs.append(("cluster_name", pool.nameBytes))
      pairs.append(("request\0time", Self.number(Int(clamping: record.startedAt))))
    }
    if let peer {
      pairs.append(("upstream\0address", peer.address))
      pairs.append(("upstream\0port", Self.number(Int(clamping: peer.port))))
      pairs.append(("upstream\0local_address", peer.localAddress))
    }
    if isDone {
      let duration = record.duration
      pairs.append(("request\0duration", Self.number(Int(clamping: duration))))
      pairs.append(("request\0total_size", Self.number(Int(clamping: record.bytesIn))))
      pairs.append(("response\0total_size", Self.number(Int(clamping: record.bytesOut))))
      pairs.append(("response\0flags", Self.number(Int(clamping: record.flags))))
      pairs.append(("response\0code_details", Array(record.details.bytes)))
      pairs.append(("connection\0termination_details", Array(record.details.bytes)))
    }
    Self.write(pairs, and: stream.properties.list, into: &writer)
  }

  private static func write(
    _ pairs: [(String, [UInt8])], and more: [(path: [UInt8], value: [UInt8])], into writer: inout WireWriter
  ) {
    var cursor = writer.beginPairs(count: pairs.count &+ more.count)
    for (key, value) in pairs.map({ (Array($0.0.utf8), $0.1) }) + more.map({ ($0.path, $0.value) }) {
      key.withUnsafeBytes { key in value.withUnsafeBytes { writer.addPair(&cursor, key, $0) } }
    }
  }

  private static func number(_ value: Int?) -> [UInt8] {
    withUnsafeBytes(of: UInt64(clamping: value ?? 0).littleEndian) { Array($0) }
  }
}
