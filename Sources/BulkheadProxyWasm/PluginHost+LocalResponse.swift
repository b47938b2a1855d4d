import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// `proxy_send_local_response`.
///
/// Who answers a stream is going to pause it, as every SDK's examples do, and nothing resumes it then: so whatever is wrong
/// with an answer, the stream that waits for it gets one.
extension PluginHost {
  /// A header that may not go on the wire is mended or left out, a status that no final response has is 500. The first
  /// answer of a request stands; one in the response callbacks of the first takes its place, as in Envoy. The root context, and
  /// a stream that is over, have nothing to answer: nothing happens. Nor does it on a connection, unless that waits for it then.
  func sendLocalResponse(_ memory: GuestMemory, _ a: HostcallArguments) -> Status {
    guard let active, !active.isEnded, !active.isAnswered else { return .ok }
    guard !active.isConnection else {
      refuseAnswer(active, "a connection has no responses")
      return .ok
    }
    guard let details = memory.bytes(a[1], a[2]), let body = memory.bytes(a[3], a[4]),
      let headerBytes = memory.bytes(a[5], a[6])
    else {
      refuseAnswer(active, "the arguments of proxy_send_local_response are not in the plugin's memory")
      return .invalidMemoryAccess
    }
    let (status, grpcStatus) = (a[0], Int32(bitPattern: a[7]))
    let block = localHeaders(headerBytes)
    let builder = builder(for: active)
    let size = ReplyBuilder.localResponseHead + details.count + body.count + block.count
    guard builder.hasRoom(size) else {
      answerInstead(active, "what a plugin says in one callback may have \(configuration.maximumReply) bytes")
      return .ok
    }
    let isFinal = (200...599).contains(status)
    if !isFinal { warn("proxy_send_local_response: \(status) is the status of no response: it is 500 instead") }
    block.withUnsafeBytes { block in
      builder.localResponse(
        status: isFinal ? status : 500, grpcStatus: (0...16).contains(grpcStatus) ? grpcStatus : -1, details: details,
        body: body, headers: block)
    }
    setAnswered(active)
    return .ok
  }

  /// The extra headers as they may go on the wire, serialized.
  private func localHeaders(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
    guard let pairs = Self.pairs(bytes) else {
      warn("proxy_send_local_response: its headers are no serialized pairs: the answer goes without them")
      return []
    }
    var headers: [(name: [UInt8], value: [UInt8])] = []
    pairs.visit { name, value in
      // The status is an argument of its own; some SDKs' callers put it here too.
      if HeaderRules.isPseudo(name) { return }
      switch HeaderRules.judge(name, value, in: .localResponse) {
      case .allowed: headers.append((name.map { ASCII.lower($0) }, [UInt8](value)))
      case .mended(let mended):
        headers.append((name.map { ASCII.lower($0) }, mended))
        warnOfEdit("proxy_send_local_response", .mended(mended), name)
      case .leftOut, .unsendable: warnOfEdit("proxy_send_local_response", .leftOut, name)
      }
    }
    return headers.isEmpty ? [] : Self.serialized(headers)
  }

  /// The plugin's answer is refused: a stream that its callback pauses, or that is paused already, is not left waiting.
  func refuseAnswer(_ context: StreamContext, _ why: String) {
    if let current, current === context {
      context.refusedAnswer = why
    } else if context.forward.isPaused || context.backward.isPaused {
      endInstead(context, why)
    }
  }

  /// Ends a stream that would wait for an answer which was refused.
  func endInstead(_ context: StreamContext, _ why: String) {
    guard context.isConnection else { return answerInstead(context, why) }
    warn("the connection is closed: it would wait for a response: \(why)")
    builder(for: context).set(.closeDownstream)
  }

  /// Answers with 500 in the place of what the plugin wanted and cannot have, and says why.
  ///
  /// - Parameter status: of the answer.
  func answerInstead(_ context: StreamContext, status: UInt32 = 500, _ why: String) {
    guard !context.isAnswered else { return }
    warn("the stream is answered with \(status): \(why)")
    let nothing = Self.nothing
    builder(for: context).localResponse(
      status: status, grpcStatus: -1, details: nothing, body: nothing, headers: nothing)
    setAnswered(context)
  }

  private func setAnswered(_ context: StreamContext) {
    context.isAnswered = true
    context.forward.resume()
    context.backward.resume()
  }

  /// Says what became of an entry that may not go on the wire.
  func warnOfEdit(_ what: String, _ verdict: HeaderRules.Verdict, _ name: UnsafeRawBufferPointer) {
    let shown = String(
      decoding: name.prefix(64).map { (0x21...0x7E).contains($0) ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
    switch verdict {
    case .allowed: break
    case .mended: warn("\(what): the value of '\(shown)' has bytes that may not go on the wire: they were replaced")
    case .leftOut: warn("\(what): '\(shown)' may not stand there: it was left out")
    case .unsendable: warn("\(what): a message with that value of '\(shown)' cannot be sent")
    }
  }
}
