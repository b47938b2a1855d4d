import BulkheadChain
import NIOCore

/// The embedded upstream: answers one request with what it received, as JSON.
final class EchoUpstream: UpstreamTransport {
  /// The most of a body that is repeated.
  static let repeatedBody = 64 << 10

  private var receiver: (any ResponseReceiver)?
  /// By which the request came; nil for a call of a plugin.
  private let listener: String?
  private var head: HeaderMap?
  private var text = ByteBuffer()
  private var size: UInt64 = 0

  private(set) var isReading = false
  var peer: UpstreamPeer? { nil }
  var isWritable: Bool { true }
  var isBehind: Bool { false }

  init(for receiver: any ResponseReceiver, listener: String?) {
    self.receiver = receiver
    self.listener = listener
  }

  func send(_ head: MessageHead?, _ body: inout ByteQueue, end: Trailers?) {
    if let head { self.head = head.fields }
    while let piece = body.popFirst() {
      size &+= UInt64(piece.count)
      let room = max(Self.repeatedBody - text.readableBytes, 0)
      piece.withBytes { _ = text.writeBytes($0.prefix(room)) }
    }
    if let end { answer(trailers: end) }
  }

  func whenTaken(_ done: @escaping () -> Void) { done() }
  func suspendReads() {}
  func resumeReads() {}
  func abandon() { receiver = nil }

  private func answer(trailers: Trailers) {
    guard let receiver, let head else { return }
    let json = ByteBuffer(bytes: text(of: head, trailers: trailers))
    let response = receiver.response
    response.reset()
    response.append(":status", "200" as StaticString, name: .status)
    response.append("content-type", "application/json" as StaticString)
    response.append("content-length", String(json.readableBytes), name: .contentLength)
    // Head, body and end are one round: they leave together.
    isReading = true
    receiver.responseHead(.length(UInt64(json.readableBytes)))
    self.receiver?.responseBody(json)
    isReading = false
    guard self.receiver != nil else { return }
    self.receiver = nil
    receiver.responseEnd([])
  }

  private func text(of head: HeaderMap, trailers: Trailers) -> [UInt8] {
    var json = JSONText()
    json.raw("{\n  \"listener\": ")
    if let listener { json.string(listener) } else { json.raw("null") }
    json.raw(",\n  \"method\": ")
    json.string(head.value(of: .method))
    json.raw(",\n  \"path\": ")
    json.string(head.value(of: .path))
    json.raw(",\n  \"authority\": ")
    json.string(head.value(of: .authority))
    json.raw(",\n  \"headers\": {")
    json.headers(head)
    json.raw("},\n  \"body\": {\"size\": \(size), \"text\": ")
    text.withUnsafeReadableBytes { json.string($0) }
    json.raw("}")
    if !trailers.isEmpty {
      json.raw(",\n  \"trailers\": {")
      for (index, trailer) in trailers.enumerated() {
        json.raw(index == 0 ? "\n    " : ",\n    ")
        json.string(trailer.name)
        json.raw(": ")
        trailer.value.withUnsafeBytes { json.string($0) }
      }
      json.raw("\n  }")
    }
    json.raw("\n}\n")
    return json.bytes
  }
}
