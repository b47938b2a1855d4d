import BulkheadChain
import BulkheadCore
import BulkheadWire
import NIOCore

/// A `proxy_grpc_call` (unary) or a `proxy_grpc_stream`.
///
/// The callbacks are Envoy's. A stream: initial metadata, messages, trailing metadata, close, in that order; where the
/// answer is trailers alone, the initial metadata is empty. A unary call has one callback: the message where it
/// succeeded, else the close with its status.
final class GRPCCall: OutgoingCall {
  private let head: CallHead
  private let isUnary: Bool
  private let timeoutMilliseconds: UInt32

  // Out
  private var outbox: [(frame: ByteBuffer, isLast: Bool)] = []
  /// Messages of a stream that have not left.
  private var waitingMessages = 0
  private var isClosedHere = false
  /// It is given up as soon as what the plugin is asking for is dealt with.
  private var isGivenUp = false
  private var hasBegun = false

  // Back
  private var sawHead = false
  private var framing = GRPCFraming()
  private var answer: ByteBuffer?
  /// What the answer of a unary call counts for.
  private var answerBytes = 0
  /// What comes after the messages that are here.
  private var end: End?
  private(set) var isHeldBack = false

  private enum End {
    case trailers(CallHeaders)
    case error(UInt32, String)
    /// The call failed here: the plugin is shown what Envoy makes of that, an answer of trailers alone.
    case local(UInt32, String)
  }

  /// A plugin that owes the front this much of its ring gets no further message until it has caught up: bytes.
  static let highWater = 256 << 10
  static let lowWater = ChainLimits.owedLowWater

  /// Messages of one stream that may wait to be sent.
  static let maximumWaiting = 16_384

  /// - Throws: `CallRefusal` where the request is none.
  init(callsOut: CallsOut, link: WorkerLink, request: GRPCCallRequest) throws(CallRefusal) {
    let path = Array("/".utf8) + Array(request.service) + Array("/".utf8) + Array(request.method)
    guard path.withUnsafeBytes({ RequestGrammar.isPath($0) }), let path = String(validating: path, as: UTF8.self) else {
      throw CallRefusal(reason: "its service and method make no path")
    }
    var authority = ""
    request.metadata.forEach({ key, value in
      if key.equals(":authority"), RequestGrammar.isHost(value) { authority = String(decoding: value, as: UTF8.self) }
    })
    var head = CallHead(method: "POST", path: path, authority: authority)
    head.fields = [("content-type", "application/grpc"), ("te", "trailers"), link.plugin.settings.mark.field]
    let timeout = min(request.timeoutMilliseconds, Limits.maximumCallMilliseconds)
    if timeout > 0 { head.fields.append(("grpc-timeout", "\(timeout)m")) }
    let own = ["content-type", "grpc-timeout"]
    head.fields += try CallHead.fields(request.metadata, isBinaryAllowed: true).filter { !own.contains($0.name) }
    try HTTP2Head.check(head)
    self.head = head
    isUnary = request.isUnary
    timeoutMilliseconds = timeout
    super.init(
      callsOut: callsOut, link: link, token: request.token, owner: request.owner,
      upstream: String(decoding: request.upstream, as: UTF8.self))
  }

  /// What the call keeps until it is over, without its message.
  var requestBytes: Int { head.heldBytes &+ Self.overhead }

  // MARK: Out

  override func begin(_ transport: any UpstreamTransport) {
    hasBegun = true
    var head = self.head
    if head.authority.isEmpty { head.authority = connection?.authority ?? upstream }
    var none = ByteQueue()
    transport.send(MessageHead(fields: head.map, framing: .open), &none, end: nil)
    let waiting = outbox
    if !isUnary { outbox = [] }
    for (frame, isLast) in waiting { write(frame, isLast: isLast, to: transport) }
  }

  private func write(_ frame: ByteBuffer, isLast: Bool, to transport: any UpstreamTransport) {
    var pieces = ByteQueue()
    if frame.readableBytes > 0 { pieces.append(ByteChunk(frame)) }
    transport.send(nil, &pieces, end: isLast ? [] : nil)
    // The message of a unary call is kept, so that it can be sent once more.
    guard !isUnary else { return }
    let bytes = frame.readableBytes > 0 ? frame.readableBytes &+ Self.overhead : 0
    transport.whenTaken { [weak self] in
      guard let self else { return }
      waitingMessages -= 1
      release(bytes)
    }
  }

  /// Sends a message.
  func send(_ message: UnsafeRawBufferPointer, isLast: Bool) {
    guard !isClosedHere else { return log("is sent a message after its end, which is dropped") }
    guard end == nil, !isGivenUp else { return }
    let frame = GRPCFraming.frame(message)
    guard waitingMessages < Self.maximumWaiting else {
      return finishLater(
        GRPCStatus.resourceExhausted,
        "the call has \(Self.maximumWaiting) messages that its upstream has not taken, which is the bound")
    }
    guard hold(frame.readableBytes &+ Self.overhead) else {
      return finishLater(GRPCStatus.resourceExhausted, overBound)
    }
    isClosedHere = isLast
    put(frame, isLast: isLast)
  }

  /// The plugin sends nothing more.
  func closeHere() {
    if isUnary { return cancel() }
    guard !isClosedHere, end == nil else { return }
    isClosedHere = true
    // It must be said, whatever is kept already: once in a call.
    put(ByteBuffer(), isLast: true)
  }

  private func put(_ frame: ByteBuffer, isLast: Bool) {
    waitingMessages += 1
    if let transport, hasBegun { write(frame, isLast: isLast, to: transport) } else { outbox.append((frame, isLast)) }
  }

  /// A unary call keeps its message; a stream only until it is sent.
  override var isReplayable: Bool { !sawHead && (isUnary || !hasBegun) }

  // MARK: Back

  override func receive(head: CallHeaders, isEnd: Bool) {
    guard end == nil, !sawHead else { return }
    guard CallPairs.fits(head) else {
      return finish(.error(GRPCStatus.internal, "its initial metadata is larger than \(CallPairs.maximumBytes) bytes"))
    }
    sawHead = true
    let status = head.first { $0.name == ":status" }?.value ?? ""
    deliver(.grpcInitialMetadata, isEnd ? [] : head)
    if status != "200", !isEnd || GRPCStatus.find(in: head) == nil {
      return finish(.error(GRPCStatus.fromHTTP(status), ""))
    }
    if isEnd { finish(.trailers(head)) }
  }

  override func receive(_ bytes: ByteBuffer) {
    guard end == nil, !isOver else { return }
    guard hold(bytes.readableBytes) else { return finish(.error(GRPCStatus.resourceExhausted, overBound)) }
    framing.append(bytes)
    process()
  }

  override func receiveEnd(trailers: CallHeaders?) {
    guard end == nil, !isOver else { return }
    guard let trailers else { return finish(.error(GRPCStatus.unknown, "")) }
    guard CallPairs.fits(trailers) else {
      return finish(.error(GRPCStatus.internal, "its trailing metadata is larger than \(CallPairs.maximumBytes) bytes"))
    }
    // They may have to wait behind messages.
    guard hold(CallPairs.heldBytes(trailers)) else { return finish(.error(GRPCStatus.resourceExhausted, overBound)) }
    finish(.trailers(trailers))
  }

  override func fail(_ failure: CallFailure) {
    guard end == nil, !isOver else { return }
    log(failure.reason)
    switch failure.kind {
    case .connect: finish(.local(GRPCStatus.unavailable, "upstream \(upstream) \(failure.reason)"))
    case .reset, .answer:
      finish(
        sawHead
          ? .error(GRPCStatus.internal, "") : .local(GRPCStatus.unavailable, "upstream \(upstream) \(failure.reason)"))
    }
  }

  override func timedOut() {
    guard !isOver else { return }
    // What is held back is too late as well.
    framing = GRPCFraming()
    end = nil
    isHeldBack = false
    finish(.local(GRPCStatus.deadlineExceeded, "no answer within \(timeoutMilliseconds) ms"))
  }

  override func discard() {
    outbox = []
    framing = GRPCFraming()
    answer = nil
    end = nil
  }

  /// The plugin has caught up.
  func resume() {
    guard isHeldBack, !isOver else { return }
    isHeldBack = false
    process()
    if !isHeldBack { transport?.resumeReads() }
  }

  /// The end is known; it comes after the messages that are here.
  private func finish(_ end: End) {
    guard self.end == nil, !isOver else { return }
    self.end = end
    // Nothing more is to be sent or read: its place on the connection is free.
    leaveTransport()
    process()
  }

  /// As `finish`, but not in the middle of what the plugin is asking for.
  private func finishLater(_ status: UInt32, _ message: String) {
    isGivenUp = true
    log(message)
    callsOut.later { [self] in finish(.local(status, message)) }
  }

  private func process() {
    while !isOver, !isHeldBack {
      if !isUnary, link.owed.rootBytes > Self.highWater {
        isHeldBack = true
        transport?.suspendReads()
        callsOut.holdBack(self)
        return
      }
      switch framing.next(atMost: link.maximumRootPayload &- 8) {
      case .message(let message):
        let bytes = GRPCFraming.prefixBytes &+ message.readableBytes
        if isUnary {
          // It is kept until the status is known; of several the last one counts.
          release(answerBytes)
          answer = message
          answerBytes = bytes
        } else {
          release(bytes)
          deliver(message)
        }
      case .needMore:
        if let end { conclude(end) }
        return
      case .compressed: refuse(GRPCStatus.internal, "answered with a compressed message, which it was not asked for")
      case .tooLarge(let bytes):
        refuse(
          GRPCStatus.resourceExhausted,
          "answered with a message of \(bytes) bytes, more than the \(link.maximumRootPayload &- 8) that the plugin's "
            + "ring takes")
      }
    }
  }

  private func refuse(_ status: UInt32, _ reason: String) {
    log(reason)
    framing = GRPCFraming()
    answer = nil
    end = .error(status, reason)
    leaveTransport()
  }

  // MARK: Callbacks

  private func deliver(_ kind: CallbackKind, _ metadata: CallHeaders) {
    guard !isUnary, !isOver else { return }
    let token = self.token
    _ = CallPairs.serialize(metadata) { pairs in link.deliver(kind) { $0.grpcEvent(token: token, pairs) } }
  }

  private func deliver(_ message: ByteBuffer) {
    let token = self.token
    message.withUnsafeReadableBytes { bytes in
      _ = link.deliver(.grpcMessage) { $0.grpcEvent(token: token, bytes) }
    }
  }

  private func conclude(_ end: End) {
    uncount()
    if case .trailers = end {} else { link.plugin.counters.failedCalls &+= 1 }
    switch end {
    case .trailers(let trailers):
      let status = GRPCStatus.find(in: trailers) ?? GRPCStatus.unknown
      deliver(.grpcTrailingMetadata, trailers)
      close(status, GRPCStatus.message(in: trailers))
    case .error(let status, let message):
      deliver(.grpcTrailingMetadata, [])
      close(status, message)
    case .local(let status, let message):
      if sawHead {
        deliver(.grpcTrailingMetadata, [])
      } else {
        deliver(.grpcInitialMetadata, [])
        deliver(
          .grpcTrailingMetadata,
          [
            (":status", "200"), ("content-type", "application/grpc"), ("grpc-status", String(status)),
            ("grpc-message", message),
          ])
      }
      close(status, message)
    }
    if !isOver { conclude() }
  }

  private func close(_ status: UInt32, _ message: String) {
    guard !isOver else { return }
    if isUnary, status == GRPCStatus.ok {
      if let answer { return deliver(answer) }
      return Self.deliverEnd(token, GRPCStatus.internal, "", to: link)
    }
    Self.deliverEnd(token, status, message, to: link)
  }

  static func deliverEnd(_ token: UInt32, _ status: UInt32, _ message: String, to link: WorkerLink) {
    var message = message
    message.withUTF8 { text in
      let text = UnsafeRawBufferPointer(text)
      _ = link.deliver(.grpcClose) { $0.grpcEnd(token: token, status: status, message: text) }
    }
  }
}
