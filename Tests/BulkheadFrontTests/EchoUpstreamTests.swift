import NIOCore
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// The embedded upstream is a transport like any other: here with a receiver that notes what it hears.
@Suite struct EchoUpstreamTests {
  private final class Receiver: ResponseReceiver {
    let response = HeaderMap()
    var heard: [String] = []
    var body = ""
    var transport: EchoUpstream?
    var leavesAtHead = false

    func requestMayGoOn() {}
    func requestIsHeldUp() {}
    func responseInterim() { heard.append("interim") }
    func responseHead(_ framing: BodyFraming) {
      heard.append("head \(response.text(of: .status) ?? "") \(framing == .open ? "open" : "known")")
      if leavesAtHead { transport?.abandon() }
    }
    func responseBody(_ piece: ByteBuffer) { body += String(buffer: piece) }
    func responseEnd(_ trailers: Trailers) { heard.append("end") }
    func responseReadComplete() {}
    func upstreamBroke(_ reason: String, _ acted: UpstreamActed) { heard.append("broke") }
  }

  private func head() -> MessageHead {
    let map = HeaderMap()
    map.append(":method", "PUT" as StaticString, name: .method)
    map.append(":path", "/p" as StaticString, name: .path)
    return MessageHead(fields: map, framing: .open)
  }

  private func queue(_ pieces: String...) -> ByteQueue {
    var queue = ByteQueue()
    for piece in pieces { queue.append(chunk(piece)) }
    return queue
  }

  @Test func theAnswerComesOnceTheRequestIsWhole() {
    let receiver = Receiver()
    let echo = EchoUpstream(for: receiver, listener: "edge")
    var pieces = queue("some")
    echo.send(head(), &pieces, end: nil)
    #expect(receiver.heard.isEmpty)
    #expect(pieces.isEmpty)
    pieces = queue("thing")
    echo.send(nil, &pieces, end: [("x-sum", [0x31])])
    #expect(receiver.heard == ["head 200 known", "end"])
    #expect(receiver.body.contains("\"listener\": \"edge\""))
    #expect(receiver.body.contains("\"body\": {\"size\": 9, \"text\": \"something\"}"))
    #expect(receiver.body.contains("\"x-sum\": \"1\""))
    #expect(receiver.response.text(of: .contentLength) == String(receiver.body.utf8.count))
  }

  @Test(arguments: [true, false]) func whoHasLeftHearsNothingMore(atHead: Bool) {
    let receiver = Receiver()
    let echo = EchoUpstream(for: receiver, listener: nil)
    receiver.transport = echo
    receiver.leavesAtHead = atHead
    var none = ByteQueue()
    echo.send(head(), &none, end: nil)
    if !atHead { echo.abandon() }
    echo.send(nil, &none, end: [])
    #expect(receiver.heard == (atHead ? ["head 200 known"] : []))
    #expect(receiver.body.isEmpty)
  }
}
