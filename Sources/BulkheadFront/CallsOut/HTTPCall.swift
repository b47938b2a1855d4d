import BulkheadChain
import BulkheadCore
import BulkheadWire
import NIOCore

/// A `proxy_http_call`: the whole answer, or none, in one callback.
final class HTTPCall: OutgoingCall {
  private let head: CallHead
  private var body: ByteBuffer
  private let trailers: CallHeaders
  private var answerHead: CallHeaders = []
  private var answer = ByteBuffer()
  private let timeoutMilliseconds: UInt32

  /// - Throws: `CallRefusal` where the request is none.
  init(callsOut: CallsOut, link: WorkerLink, request: HTTPCallRequest) throws(CallRefusal) {
    var head = try CallHead(request.headers)
    trailers = try CallHead.fields(request.trailers)
    body = ByteBuffer(bytes: request.body)
    if trailers.isEmpty, body.readableBytes > 0 || ["POST", "PUT", "PATCH"].contains(head.method) {
      head.fields.append(("content-length", String(body.readableBytes)))
    }
    head.fields.append(link.plugin.settings.mark.field)
    self.head = head
    timeoutMilliseconds = request.timeoutMilliseconds
    super.init(
      callsOut: callsOut, link: link, token: request.token, owner: request.owner,
      upstream: String(decoding: request.upstream, as: UTF8.self))
  }

  /// What the request keeps until the call is over.
  var requestBytes: Int {
    body.readableBytes &+ head.heldBytes &+ CallPairs.heldBytes(trailers) &+ Self.overhead
  }

  /// - Throws: `CallRefusal` where HTTP/2 does not carry the request.
  func checkHTTP2() throws(CallRefusal) {
    try HTTP2Head.check(head)
    try HTTP2Head.check(trailers: trailers)
  }

  override var isReplayable: Bool { answerHead.isEmpty }

  override var isIdempotent: Bool {
    ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"].contains(head.method)
  }

  // MARK: Out

  override func begin(_ transport: any UpstreamTransport) {
    var pieces = ByteQueue()
    if body.readableBytes > 0 { pieces.append(ByteChunk(body)) }
    let framing: BodyFraming =
      !trailers.isEmpty ? .open : body.readableBytes > 0 ? .length(UInt64(body.readableBytes)) : .none
    transport.send(MessageHead(fields: head.map, framing: framing), &pieces, end: CallPairs.trailers(trailers))
  }

  // MARK: Back

  override func receive(head: CallHeaders, isEnd: Bool) {
    guard CallPairs.fits(head) else {
      return failNow("answered with a header larger than \(CallPairs.maximumBytes) bytes")
    }
    guard hold(CallPairs.heldBytes(head)) else { return failNow("failed: \(overBound)") }
    answerHead = CallPairs.forPlugin(head)
  }

  override func receive(_ bytes: ByteBuffer) {
    let room = link.maximumRootPayload &- 16 &- CallPairs.serializedSize(answerHead)
    guard answer.readableBytes &+ bytes.readableBytes <= room else {
      return failNow("answered with a body larger than \(max(room, 0)) bytes, which is what the plugin's ring takes")
    }
    guard hold(bytes.readableBytes) else { return failNow("failed: \(overBound)") }
    var bytes = bytes
    answer.writeBuffer(&bytes)
  }

  override func receiveEnd(trailers: CallHeaders?) {
    guard !isOver else { return }
    let trailers = CallPairs.forPlugin(trailers ?? [])
    guard CallPairs.fits(trailers) else {
      return failNow("answered with trailers larger than \(CallPairs.maximumBytes) bytes")
    }
    let answer = self.answer
    uncount()
    let isSent = CallPairs.serialize(answerHead) { head in
      CallPairs.serialize(trailers) { trailers in
        answer.withUnsafeReadableBytes { body in
          link.deliver(.httpCallResponse) { writer in
            writer.httpCallResult(token: token, serializedHeaders: head, body: body, serializedTrailers: trailers)
          }
        }
      }
    }
    guard isSent || isOver else {
      return failNow("answered with more than the plugin's ring takes")
    }
    conclude()
  }

  override func fail(_ failure: CallFailure) { failNow(failure.reason) }

  override func discard() {
    body = ByteBuffer()
    answer = ByteBuffer()
    answerHead = []
  }

  override func timedOut() { failNow("was not answered within \(timeoutMilliseconds) ms") }

  private func failNow(_ reason: String) {
    guard !isOver else { return }
    log(reason)
    link.plugin.counters.failedCalls &+= 1
    uncount()
    Self.deliverFailure(token, to: link)
    conclude()
  }

  /// Tells the plugin of a call without an answer.
  static func deliverFailure(_ token: UInt32, to link: WorkerLink) {
    let none = UnsafeRawBufferPointer(start: nil, count: 0)
    _ = link.deliver(.httpCallResponse) { writer in
      writer.httpCallResult(token: token, serializedHeaders: none, body: none, serializedTrailers: none)
    }
  }
}
