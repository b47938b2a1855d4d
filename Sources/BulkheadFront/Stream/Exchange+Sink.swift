import BulkheadChain
import BulkheadCore
import BulkheadSystem
import BulkheadWire
import NIOCore

// What comes out of the chain goes to the upstream, and back to the client.
extension Exchange: StreamSink {
  func takes(_ direction: Direction) -> Bool {
    direction == .response
      ? !responseHeadSent || connection.isWritable : requestQueue.byteCount <= ChainLimits.bodyHighWater
  }

  func passed(_ direction: Direction) {
    if direction == .request { requestPassed() } else { responsePassed() }
  }

  private func requestPassed() {
    switch phase {
    case .requestChain:
      guard case .passed = stream.request.head else { return }
      if changesBody(.request) {
        // The body goes through the chain before the head leaves.
        bytesAreAwaited()
        guard !requestQueue.isEmpty || requestIsWhole || requestHeadGoesAhead else { return }
      }
      forward()
    // A head waits for the first of its body to leave with it, or for the end of this round of reading.
    case .upstream, .responseChain, .responding:
      guard !attempt.sent else { return }
      if attempt.headSent || requestIsWhole || !requestQueue.isEmpty || !connection.isReading { pumpRequest() }
    case .idle: break
    }
  }

  private func responsePassed() {
    switch phase {
    case .responseChain:
      guard case .passed = stream.response.head,
        !changesBody(.response) || !responseQueue.isEmpty || responseIsWhole || responseHeadGoesAhead
      else { return }
      respond()
    case .responding:
      if responseHeadSent || responseIsWhole || !responseQueue.isEmpty || !(upstream?.isReading ?? false) {
        pumpResponse()
      }
    case .idle, .requestChain, .upstream: break
    }
  }

  /// A head waits for the first of its body, so that plugins may still change it. Where none has come by the end of the
  /// round of reading, and no length is promised, it goes ahead: an event stream may be silent for long.
  private var responseHeadGoesAhead: Bool {
    responseFraming == .open && stream.response.isUntouched
      && !(upstream?.isReading ?? false)
  }

  private var requestHeadGoesAhead: Bool {
    requestFraming == .open && stream.request.isUntouched && !connection.isReading
  }

  func bytesAreAwaited() {
    if !requestEnded { connection.continueRequest() }
  }

  func settled() {
    guard phase != .idle else { return }
    if timedProgress != stream.progress {
      timedProgress = stream.progress
      setDeadline()
    }
    if stream.hasStages { regulate() }
  }

  /// How long what the chain waits for may take.
  private func setDeadline() {
    switch phase {
    case .idle: break
    case .requestChain: setDeadline(ofHeld: .request)
    case .responseChain: setDeadline(ofHeld: .response)
    case .upstream: if !attempt.sent, changesBody(.request) { setDeadline(ofMoving: .request) }
    case .responding: if changesBody(.response) { setDeadline(ofMoving: .response) }
    }
  }

  private func setDeadline(ofHeld direction: Direction) {
    switch stream[direction].head {
    case .at(_, .resumption(bytesRun: false, let since)): deadline = since &+ loop.settings.upstreamResponse
    case .at(_, .turn), .at(_, .callback), .at(_, .admission): deadline = 0
    case .at(_, .resumption), .passed, .none:
      guard changesBody(direction) else { return }
      if stream[direction].stages.contains(where: { !$0.isIdle }) {
        deadline = 0
      } else {
        setDeadline(ofMoving: direction)
      }
    }
  }

  private func setDeadline(ofMoving direction: Direction) {
    let now = Clock.monotonicNanoseconds
    if stream[direction].stuckAt != nil {
      deadline = now &+ loop.settings.upstreamResponse
    } else if !stream[direction].isWhole || phase == .requestChain || phase == .responseChain {
      deadline = now &+ loop.settings.idle
    }
  }

  /// Reads go on, or stop, by how much waits for plugins.
  private func regulate() {
    if changesBody(.request) {
      if !stream.hasRoom(.request) {
        connection.suspendReads()
      } else if upstream?.isWritable ?? true {
        connection.resumeReads()
      }
    }
    if changesBody(.response) {
      if !stream.hasRoom(.response) {
        upstream?.suspendReads()
      } else if phase != .responding || connection.isWritable {
        upstream?.resumeReads()
      }
    }
  }

  func charge(_ bytes: Int, to plugin: PluginWorkers, _ direction: Direction) -> Bool {
    direction == .request ? madeOfRequest.charge(plugin, bytes) : madeOfResponse.charge(plugin, bytes)
  }

  // MARK: The end before its time

  func stop(_ cause: StreamStop, by place: Int) {
    switch cause {
    case .failed(let why, let fault): fail(place, why, fault)
    case .closed:
      record.note("plugin_closed", of: place)
      reset()
    case .answered(let local): answer(local, of: place)
    case .holdsTooMuch(let direction): holdsTooMuch(place, direction)
    case .madeTooMuch: madeTooMuch(place)
    }
  }

  private func fail(_ place: Int, _ why: String, _ fault: PluginFault) {
    let settings = chain.plugins[place].settings
    // The response callbacks of the plugins behind this one on the way still run.
    let text =
      fault == .overload
      ? "plugin \(settings.name) has no room (\(why))" : "plugin \(settings.name) is unavailable (\(why))"
    let told = body(text, plain: fault == .overload ? PlainText.overload : PlainText.unavailable)
    answer(
      settings.failStatus, settings.failBody.map { ByteBuffer(string: $0) } ?? told, from: stream.wayBack,
      details: fault == .overload ? "plugin_overloaded" : "plugin_unavailable", plugin: place)
  }

  private func holdsTooMuch(_ place: Int, _ direction: Direction) {
    let settings = chain.plugins[place].settings
    let isResponse = direction == .response
    let text =
      "plugin \(settings.name) holds back more of the \(isResponse ? "response" : "request")'s body than its bound of "
      + "\(settings.bufferBytes) bytes"
    if let suppressed = loop.engine.failureLines.admit(now: Clock.monotonicNanoseconds) {
      loop.log.write(.warn, request: requestID, text + FrontLog.note(suppressed: suppressed))
    }
    answer(
      isResponse ? 500 : 413, text, plain: isResponse ? PlainText.largeResponse : PlainText.largeRequest,
      from: stream.wayBack,
      details: isResponse ? "response_payload_too_large" : "request_payload_too_large", plugin: place)
  }

  // MARK: For plugins

  func connectionProperties() -> UnsafeRawBufferPointer { connection.properties() }

  func isEditable(_ direction: Direction) -> Bool {
    direction == .response
      ? phase == .responseChain : !attempt.headSent && (phase == .requestChain || phase == .upstream)
  }

  var endpointCount: Int { pool.endpointCount }

  func choose(_ endpoint: UnsafeRawBufferPointer, by place: Int) {
    // An honest worker sends no such thing.
    guard chain.plugins[place].settings.mayReach(pool.name) else {
      return stream.warn(
        place, "the endpoint that it chose is not used: its policy does not list upstream \(pool.name) (upstreams)")
    }
    guard !attempt.isUnderWay, let index = pool.connector.endpoint(named: endpoint) else {
      return stream.warn(
        place,
        "the endpoint \(String(decoding: endpoint, as: UTF8.self)) that it chose is not used: "
          + (!attempt.isUnderWay ? "upstream \(pool.name) has no such endpoint" : "the request is under way"))
    }
    attempt.chosenEndpoint = index
  }
}
