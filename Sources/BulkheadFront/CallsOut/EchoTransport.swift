import NIOCore

/// The embedded upstream for a call out: answers with what it received, as it does to a proxied request.
final class EchoTransport: CallTransport {
  private weak var call: OutgoingCall?
  private var head: CallHead?
  private var size = 0
  private var text = ByteBuffer()

  init(_ call: OutgoingCall) { self.call = call }

  func send(_ head: CallHead, isEnd: Bool) {
    self.head = head
    if isEnd { answer() }
  }

  func send(_ bytes: ByteBuffer, isEnd: Bool, written: @escaping () -> Void) {
    size &+= bytes.readableBytes
    if let part = bytes.getSlice(
      at: bytes.readerIndex, length: min(bytes.readableBytes, EchoUpstream.repeatedBody - text.readableBytes))
    {
      text.writeImmutableBuffer(part)
    }
    written()
    if isEnd { answer() }
  }

  func send(trailers: CallHeaders) { answer() }
  func readOn() {}
  func letGo() { call = nil }

  private func answer() {
    guard let call, let head else { return }
    let map = HeaderMap()
    for field in head.fields {
      var (name, value) = field
      name.withUTF8 { name in
        value.withUTF8 { value in _ = map.appendParsed(UnsafeRawBufferPointer(name), UnsafeRawBufferPointer(value)) }
      }
    }
    var json = JSONText()
    json.raw("{\n  \"listener\": null,\n  \"method\": ")
    json.string(head.method)
    json.raw(",\n  \"path\": ")
    json.string(head.path)
    json.raw(",\n  \"authority\": ")
    json.string(head.authority)
    json.raw(",\n  \"headers\": {")
    json.headers(map)
    json.raw("},\n  \"body\": {\"size\": \(size), \"text\": ")
    text.withUnsafeReadableBytes { json.string($0) }
    json.raw("}\n}\n")
    let body = ByteBuffer(bytes: json.bytes)
    // Not in the middle of what the call is sending.
    call.callsOut.later { [weak call] in
      guard let call else { return }
      call.receive(
        head: [
          (":status", "200"), ("content-type", "application/json"), ("content-length", String(body.readableBytes)),
        ], isEnd: false)
      call.receive(body)
      call.receiveEnd(trailers: nil)
    }
  }
}
