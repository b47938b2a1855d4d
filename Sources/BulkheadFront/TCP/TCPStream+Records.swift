import BulkheadCore
import BulkheadSystem
import BulkheadWire
import NIOCore

// What workers are told: records, properties, the end.
extension TCPStream {
  func writeRecord(
    _ kind: CallbackKind, _ stage: TCPStage, _ direction: TCPDirection, sequence: UInt64, isFirst: Bool
  ) {
    var flags: CallbackRecord.Flags = isFirst ? .firstOfStream : []
    let isData = kind != .newConnection
    if isData, stage[direction].sentEnd { flags.insert(.endOfStream) }
    loop.writer.reset()
    loop.writer.callbackHead(kind, flags: flags, stream: streamID, sequence: sequence)
    if isFirst { loop.writer.blob(connectionBlock()) } else { loop.writer.emptyBlob() }
    // The upstream is known from its first bytes on.
    writeProperties(isFirst: isFirst, withUpstream: kind == .upstreamData && !stage.hasState || isFirst, isDone: false)
    loop.writer.emptyBlob()
    loop.writer.emptyBlob()
    let payload = loop.writer.beginBlob()
    if isData { stage[direction].sent.withUnsafeReadableBytes { loop.writer.raw($0) } }
    loop.writer.endBlob(payload)
  }

  private func connectionBlock() -> UnsafeRawBufferPointer {
    if connectionProperties.count == 0 { makeConnectionBlock() }
    return connectionProperties.bytes
  }

  private func makeConnectionBlock() {
    let remote = client?.remoteAddress
    let local = client?.localAddress
    let pairs: [(String, [UInt8])] = [
      ("source\0address", Self.text(remote)), ("source\0port", Self.number(remote?.port)),
      ("destination\0address", Self.text(local)), ("destination\0port", Self.number(local?.port)),
      ("connection\0id", Self.number(Int(clamping: loop.connectionID()))), ("connection\0mtls", [0]),
      ("listener_name", Array(listenerName.utf8)), ("listener_direction", Self.number(1)),
    ]
    Self.write(pairs, into: &connectionProperties)
  }

  private func writeProperties(isFirst: Bool, withUpstream: Bool, isDone: Bool) {
    var pairs: [(String, [UInt8])] = []
    if isFirst {
      pairs.append(("cluster_name", pool.nameBytes))
      pairs.append(("request\0time", Self.number(Int(clamping: startedAt))))
    }
    if withUpstream || isDone, let address = pool.endpointText(endpoint) {
      pairs.append(("upstream\0address", Array(address.utf8)))
      pairs.append(("upstream\0port", Self.number(pool.endpointPort(endpoint))))
      if let local = upstream?.localAddress {
        pairs.append(("upstream\0local_address", Self.text(local)))
        pairs.append(("upstream\0local_port", Self.number(local.port ?? 0)))
      }
    }
    if isDone {
      let duration = Clock.monotonicNanoseconds &- startedMonotonic
      pairs.append(("request\0duration", Self.number(Int(clamping: duration))))
      pairs.append(("request\0total_size", Self.number(Int(clamping: bytesFromClient))))
      pairs.append(("response\0total_size", Self.number(Int(clamping: bytesToClient))))
      pairs.append(("response\0flags", Self.number(Int(clamping: flags))))
      pairs.append(("response\0code_details", details.bytes.map { $0 }))
      pairs.append(("connection\0termination_details", details.bytes.map { $0 }))
    }
    guard !pairs.isEmpty else {
      loop.writer.emptyBlob()
      return
    }
    let start = loop.writer.beginBlob()
    Self.write(pairs, into: &loop.writer)
    loop.writer.endBlob(start)
  }

  private static func write(_ pairs: [(String, [UInt8])], into writer: inout WireWriter) {
    var cursor = writer.beginPairs(count: pairs.count)
    for (key, value) in pairs {
      Array(key.utf8).withUnsafeBytes { key in value.withUnsafeBytes { writer.addPair(&cursor, key, $0) } }
    }
  }

  private static func number(_ value: Int?) -> [UInt8] {
    withUnsafeBytes(of: UInt64(clamping: value ?? 0).littleEndian) { Array($0) }
  }

  /// `127.0.0.1:80` or `[::1]:80`; empty where there is none.
  static func text(_ address: SocketAddress?) -> [UInt8] {
    guard let address, let ip = address.ipAddress, let port = address.port else { return [] }
    return Array((ip.contains(":") ? "[\(ip)]:\(port)" : "\(ip):\(port)").utf8)
  }

  // MARK: Properties of plugins

  /// Of one connection: so many properties, and so many bytes of all of them, are kept for the access log.
  private static let maximumProperties = 64
  private static let maximumPropertyBytes = 64 << 10

  /// Keeps a property for the access log, where there is one.
  func keepProperty(_ operation: ReplyOperation) {
    guard loop.accessLog != nil else { return }
    let path = Array(operation.key)
    let value = Array(operation.value)
    if let index = pluginProperties.firstIndex(where: { $0.path == path }) { pluginProperties.remove(at: index) }
    let bytes = pluginProperties.reduce(path.count &+ value.count) { $0 &+ $1.path.count &+ $1.value.count }
    guard pluginProperties.count < Self.maximumProperties, bytes <= Self.maximumPropertyBytes else { return }
    pluginProperties.append((path, value))
  }

  // MARK: The end

  /// `proxy_peer_type_t`.
  private enum Peer: UInt32 {
    case local = 1
    case remote = 2
  }

  /// The plugin at `index` has the end of what the upstream sends: as in Envoy that is when it is told of the close.
  func sayUpstreamClosed(_ index: Int) {
    sayClosed(stages[index], .upstreamClose, .remote)
  }

  private func sayClosed(_ stage: TCPStage, _ kind: CallbackKind, _ peer: Peer) {
    let callback: CallbackSet = kind == .upstreamClose ? .upstreamClose : .downstreamClose
    guard stage.callbacks.contains(callback), stage.meeting == .open, let link = stage.link, link.isAlive
    else { return }
    if kind == .upstreamClose {
      guard !stage.upstreamCloseIsSaid else { return }
      stage.upstreamCloseIsSaid = true
    }
    loop.writer.reset()
    loop.writer.callbackHead(kind, flags: [], stream: streamID, sequence: link.nextSequence)
    for _ in 0..<4 { loop.writer.emptyBlob() }
    let payload = loop.writer.beginBlob()
    loop.writer.u32(peer.rawValue)
    loop.writer.endBlob(payload)
    link.sendUnawaited(kind, stream: streamID, plugin: stage.place)
  }

  /// Tells each plugin that has a context for the connection that it is over; nobody waits for it.
  func sayEnd(_ cause: Cause) {
    // Who ended it last, where both sides have: as in Envoy, whose socket closes by the second end.
    let isRemote = cause == .byClient || (cause == .bothEnded && clientEndedLast)
    for stage in stages {
      if stage.held > 0 { stage.link?.letGo(stage.held) }
      stage.held = 0
      guard stage.meeting != .unseen, let link = stage.link, link.isAlive else { continue }
      if isConnected || upstreamBroke {
        sayClosed(stage, .upstreamClose, upstreamBroke || cause == .bothEnded ? .remote : .local)
      }
      sayClosed(stage, .downstreamClose, isRemote ? .remote : .local)
      writeDone(sequence: link.nextSequence)
      link.sendDone(stream: streamID, plugin: stage.place)
      stage.link = nil
    }
  }

  private func writeDone(sequence: UInt64) {
    loop.writer.reset()
    loop.writer.callbackHead(.streamDone, flags: [], stream: streamID, sequence: sequence)
    loop.writer.emptyBlob()
    writeProperties(isFirst: false, withUpstream: true, isDone: true)
    for _ in 0..<3 { loop.writer.emptyBlob() }
  }
}
