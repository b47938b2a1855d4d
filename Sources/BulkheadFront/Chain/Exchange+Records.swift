import BulkheadCore
import BulkheadSystem
import BulkheadWire
import ProxyWasmABI

// The records that go to workers, with what is known of the stream by then.
extension Exchange {
  /// Writes all of a record but its payload.
  func writeRecord(
    _ kind: CallbackKind, flags: CallbackRecord.Flags, sequence: UInt64, place: Int, isFirst: Bool
  ) {
    loop.writer.reset()
    loop.writer.callbackHead(kind, flags: flags, stream: streamID, sequence: sequence)
    if isFirst { loop.writer.blob(connection.properties()) } else { loop.writer.emptyBlob() }
    // The response's headers, and what is known with them, are told once.
    let showsResponse =
      kind == .responseHeaders || (kind.isFromUpstream && !plugins[place].sawResponse && phase != .upstream)
    if isFirst || showsResponse || plugins[place].propertyVersion != propertyVersion {
      let start = loop.writer.beginBlob()
      writeProperties(kind, isFirst: isFirst)
      loop.writer.endBlob(start)
    } else {
      loop.writer.emptyBlob()
    }
    if isFirst { loop.writer.blob(request.serialized()) } else { loop.writer.emptyBlob() }
    if showsResponse { loop.writer.blob(response.serialized()) } else { loop.writer.emptyBlob() }
  }

  /// The record went out.
  func noteSent(_ kind: CallbackKind, to place: Int, in link: WorkerLink) {
    countSent(kind, to: place, in: link)
    if kind.isFromUpstream { plugins[place].sawResponse = true }
    plugins[place].propertyVersion = propertyVersion
  }

  /// What is known of the stream by now, as Proxy-Wasm properties. A later block takes the place of an earlier one, but
  /// for the first: each has all that it did not have.
  private func writeProperties(_ kind: CallbackKind, isFirst: Bool) {
    let isDone = kind == .streamDone
    let isResponse = kind.isFromUpstream || isDone
    let peer = isResponse ? upstreamPeer : nil
    let failure = isResponse && !transportFailure.isEmpty
    let grpcStatus = isDone ? grpcStatusOfTrailers : nil
    let count =
      (isFirst ? 4 : 0) + (isResponse ? 3 : 0) + (peer != nil ? 4 : 0) + (failure ? 1 : 0) + (isDone ? 5 : 0)
      + (grpcStatus != nil ? 1 : 0) + pluginProperties.count
    var cursor = loop.writer.beginPairs(count: count)
    if isFirst {
      number("request\0time", startedAt, &cursor)
      text("request\0protocol", protocolName.bytes, &cursor)
      text("request\0id", request.value(of: .requestID) ?? UnsafeRawBufferPointer(start: nil, count: 0), &cursor)
      pool.nameBytes.withUnsafeBytes { text("cluster_name", $0, &cursor) }
    }
    if isResponse {
      number("response\0code", isDone ? status : currentStatus, &cursor)
      number("response\0flags", self.flags, &cursor)
      text("response\0code_details", details.bytes, &cursor)
    }
    if let peer {
      peer.address.withUnsafeBytes { text("upstream\0address", $0, &cursor) }
      number("upstream\0port", peer.port, &cursor)
      peer.localAddress.withUnsafeBytes { text("upstream\0local_address", $0, &cursor) }
      number("upstream\0local_port", peer.localPort, &cursor)
    }
    if failure {
      var reason = transportFailure
      reason.withUTF8 { text("upstream\0transport_failure_reason", UnsafeRawBufferPointer($0), &cursor) }
    }
    if isDone {
      number("request\0duration", Clock.monotonicNanoseconds &- startedMonotonic, &cursor)
      number("request\0size", requestBodyBytes, &cursor)
      number(
        "request\0total_size", requestBodyBytes &+ UInt64(request.byteCount) &+ size(of: requestTrailers), &cursor)
      number("response\0size", responseBodyBytes, &cursor)
      number(
        "response\0total_size", responseBodyBytes &+ UInt64(response.byteCount) &+ size(of: responseTrailers), &cursor)
    }
    if let grpcStatus { number("response\0grpc_status", grpcStatus, &cursor) }
    for property in pluginProperties {
      property.path.withUnsafeBytes { path in
        property.value.withUnsafeBytes { value in loop.writer.addPair(&cursor, path, value) }
      }
    }
  }

  private func number(_ key: StaticString, _ value: UInt64, _ cursor: inout PairsCursor) {
    var little = value.littleEndian
    withUnsafeBytes(of: &little) { loop.writer.addPair(&cursor, key.bytes, $0) }
  }

  private func text(_ key: StaticString, _ value: UnsafeRawBufferPointer, _ cursor: inout PairsCursor) {
    loop.writer.addPair(&cursor, key.bytes, value)
  }

  private var protocolName: StaticString { isVersion10 ? "HTTP/1.0" : "HTTP/1.1" }

  private var currentStatus: UInt64 { response.value(of: .status).flatMap { ASCII.number($0) } ?? 0 }

  private func size(of trailers: Trailers) -> UInt64 {
    trailers.reduce(0) { $0 &+ UInt64($1.name.utf8.count &+ $1.value.count) }
  }

  private var grpcStatusOfTrailers: UInt64? {
    responseTrailers.first { $0.name == "grpc-status" }.flatMap { UInt64(String(decoding: $0.value, as: UTF8.self)) }
  }

  // MARK: The end

  /// Tells each plugin that has a context for the stream that it is over; nobody waits for it.
  func sayDone() {
    hasMetPlugins = false
    for place in plugins.indices {
      if let link = plugins[place].link { link.letGo(plugins[place].held) }
      if let link = plugins[place].link, link.isAlive {
        let callbacks = chain.hosts[place].settings.callbacks
        // A plugin that has seen the response's headers has its own copy.
        let isCurious = !callbacks.isDisjoint(with: [.log, .done]) && !plugins[place].sawResponse
        writeDone(sequence: link.nextSequence, withResponse: isCurious && responseHeadSent)
        // A context that is never let go of is worse than a log without headers.
        if !link.canCarry { writeDone(sequence: link.nextSequence, withResponse: false) }
        link.sendDone(of: self, plugin: place)
      }
      plugins[place] = PluginState()
    }
  }

  private func writeDone(sequence: UInt64, withResponse: Bool) {
    loop.writer.reset()
    loop.writer.callbackHead(.streamDone, flags: [], stream: streamID, sequence: sequence)
    loop.writer.emptyBlob()
    let start = loop.writer.beginBlob()
    writeProperties(.streamDone, isFirst: false)
    loop.writer.endBlob(start)
    loop.writer.emptyBlob()
    if withResponse { loop.writer.blob(response.serialized()) } else { loop.writer.emptyBlob() }
    loop.writer.emptyBlob()
  }

  // MARK: What plugins set

  /// Properties that plugins set on one stream, and their bytes.
  static let maximumProperties = 256
  static let maximumPropertyBytes = 64 << 10

  /// Keeps what the plugin at `place` set for the others to see, and which endpoint it chose.
  func note(_ outcome: PluginOutcome, of place: Int) {
    let knewAll = plugins[place].propertyVersion == propertyVersion
    defer { if knewAll { plugins[place].propertyVersion = propertyVersion } }
    outcome.forEachOperation { operation in
      switch operation.code {
      case .setProperty:
        if loop.looks(through: pluginProperties.count) { keepProperty(operation.key, operation.value, of: place) }
      case .overrideHost: if loop.looks(through: pool.endpointCount) { choose(operation.value, of: place) }
      case .add, .replace, .remove, .set, .splice, .httpCall, .grpcStart, .grpcSend, .grpcClose, .grpcCancel,
        .incrementMetric, .recordMetric:
        break
      }
    }
  }

  private func keepProperty(_ path: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, of place: Int) {
    // The plugins behind it would take it for the front's own word. An honest worker sends no such thing.
    guard !PropertyPath.isReserved(path) else {
      warn(place, "a property that it set under a name of the host's is left out")
      return
    }
    let index = pluginProperties.firstIndex { $0.path.withUnsafeBytes { $0.equals(path) } }
    let old = index.map { pluginProperties[$0].value.count &+ path.count } ?? 0
    let bytes = pluginPropertyBytes &- old &+ path.count &+ value.count
    guard index != nil || pluginProperties.count < Self.maximumProperties, bytes <= Self.maximumPropertyBytes else {
      warn(
        place,
        "a property that it set is left out: a stream has at most \(Self.maximumProperties) of them, "
          + "of \(Self.maximumPropertyBytes) bytes in all")
      return
    }
    pluginPropertyBytes = bytes
    propertyVersion &+= 1
    if let index {
      pluginProperties[index].value = [UInt8](value)
    } else {
      pluginProperties.append((path: [UInt8](path), value: [UInt8](value)))
    }
  }

  private func choose(_ endpoint: UnsafeRawBufferPointer, of place: Int) {
    // An honest worker sends no such thing.
    guard chain.hosts[place].settings.mayReach(pool.name) else {
      warn(place, "the endpoint that it chose is not used: its policy does not list upstream \(pool.name) (upstreams)")
      return
    }
    guard upstream == nil, !waitsInPool, let index = pool.connector.endpoint(named: endpoint) else {
      warn(
        place,
        "the endpoint \(String(decoding: endpoint, as: UTF8.self)) that it chose is not used: "
          + (upstream == nil ? "upstream \(pool.name) has no such endpoint" : "the request is under way"))
      return
    }
    chosenEndpoint = index
  }

  /// A line about a plugin; only a few in a second.
  func warn(_ place: Int, _ text: @autoclosure () -> String) {
    guard let suppressed = loop.editLines.admit(now: Clock.monotonicNanoseconds) else { return }
    loop.log.write(
      .warn, request: requestID,
      "plugin \(chain.hosts[place].settings.name): \(text())"
        + FrontLog.note(suppressed: suppressed))
  }
}
