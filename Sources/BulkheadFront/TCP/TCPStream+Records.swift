import BulkheadCore
import BulkheadSystem
import BulkheadWire
import NIOCore
import ProxyWasmABI

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
    if isFirst || stage.propertyVersion != propertyVersion {
      writeProperties(isFirst: isFirst, isDone: false)
    } else {
      loop.writer.emptyBlob()
    }
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
    Self.write(
      [
        ("source\0address", UpstreamPeer.text(remote)), ("source\0port", Self.number(remote?.port)),
        ("destination\0address", UpstreamPeer.text(local)), ("destination\0port", Self.number(local?.port)),
        ("connection\0id", Self.number(Int(clamping: loop.connectionID()))), ("connection\0mtls", [0]),
        ("listener_name", Array(listenerName.utf8)), ("listener_direction", Self.number(1)),
      ], and: [], into: &connectionProperties)
  }

  /// What is known of the connection by now. A later block takes the place of an earlier one, but for the first: each
  /// has all that it did not have.
  private func writeProperties(isFirst: Bool, isDone: Bool) {
    var pairs: [(String, [UInt8])] = []
    if isFirst {
      pairs.append(("cluster_name", pool.nameBytes))
      pairs.append(("request\0time", Self.number(Int(clamping: startedAt))))
    }
    if let peer {
      pairs.append(("upstream\0address", peer.address))
      pairs.append(("upstream\0port", Self.number(Int(clamping: peer.port))))
      pairs.append(("upstream\0local_address", peer.localAddress))
    }
    if isDone {
      let duration = Clock.monotonicNanoseconds &- startedMonotonic
      pairs.append(("request\0duration", Self.number(Int(clamping: duration))))
      pairs.append(("request\0total_size", Self.number(Int(clamping: bytesFromClient))))
      pairs.append(("response\0total_size", Self.number(Int(clamping: bytesToClient))))
      pairs.append(("response\0flags", Self.number(Int(clamping: flags))))
      pairs.append(("response\0code_details", Array(details.bytes)))
      pairs.append(("connection\0termination_details", Array(details.bytes)))
    }
    let start = loop.writer.beginBlob()
    Self.write(pairs, and: pluginProperties, into: &loop.writer)
    loop.writer.endBlob(start)
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

  // MARK: Properties of plugins

  /// Keeps what the plugin set for the others to see.
  func keepProperty(_ operation: ReplyOperation, of stage: TCPStage) {
    // The plugins behind it would take it for the front's own word. An honest worker sends no such thing.
    guard !PropertyPath.isReserved(operation.key) else {
      warn(stage, "a property that it set under a name of the host's is left out")
      return
    }
    let path = Array(operation.key)
    let value = Array(operation.value)
    let index = pluginProperties.firstIndex { $0.path == path }
    var bytes = pluginProperties.reduce(path.count &+ value.count) { $0 &+ $1.path.count &+ $1.value.count }
    if let index { bytes &-= path.count &+ pluginProperties[index].value.count }
    guard index != nil || pluginProperties.count < Exchange.maximumProperties, bytes <= Exchange.maximumPropertyBytes
    else {
      warn(
        stage,
        "a property that it set is left out: a stream has at most \(Exchange.maximumProperties) of them, of "
          + "\(Exchange.maximumPropertyBytes) bytes in all")
      return
    }
    let knewAll = stage.propertyVersion == propertyVersion
    propertyVersion &+= 1
    if knewAll { stage.propertyVersion = propertyVersion }
    if let index { pluginProperties[index].value = value } else { pluginProperties.append((path, value)) }
  }

  /// Takes the endpoint that a plugin chose.
  func choose(_ name: UnsafeRawBufferPointer, of stage: TCPStage) {
    // An honest worker sends no such thing.
    guard chain.hosts[stage.place].settings.mayReach(pool.name) else {
      warn(stage, "the endpoint that it chose is not used: its policy does not list upstream \(pool.name) (upstreams)")
      return
    }
    guard !isConnected, !isConnecting, let index = pool.connector.endpoint(named: name) else {
      warn(
        stage,
        "the endpoint \(String(decoding: name, as: UTF8.self)) that it chose is not used: "
          + (isConnected || isConnecting ? "the connection is under way" : "upstream \(pool.name) has no such endpoint")
      )
      return
    }
    endpoint = index
  }

  private func warn(_ stage: TCPStage, _ text: String) {
    guard let suppressed = loop.editLines.admit(now: Clock.monotonicNanoseconds) else { return }
    loop.log.write(
      .warn, request: label,
      "plugin \(chain.hosts[stage.place].settings.name): \(text)"
        + FrontLog.note(suppressed: suppressed))
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
    link.sendUnawaited(kind, of: self, plugin: stage.place)
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
      link.sendDone(of: self, plugin: stage.place)
      stage.link = nil
    }
  }

  private func writeDone(sequence: UInt64) {
    loop.writer.reset()
    loop.writer.callbackHead(.streamDone, flags: [], stream: streamID, sequence: sequence)
    loop.writer.emptyBlob()
    writeProperties(isFirst: false, isDone: true)
    for _ in 0..<3 { loop.writer.emptyBlob() }
  }
}
