import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// Heads of which only the beginning has come.
@Suite struct HeadPrefixTests {
  /// What a connection finds wrong with the bytes that come in pieces of that size and never end the head; nil where it
  /// waits for more.
  private func fault(_ bytes: [UInt8], _ kind: HeadPrefix.Kind, pieces: Int) -> HTTPFault? {
    var searched = 0
    while searched < bytes.count {
      let count = min(searched + pieces, bytes.count)
      let look: (isOver: Bool, fault: HTTPFault?) = bytes.withUnsafeBytes { all in
        let some = UnsafeRawBufferPointer(rebasing: all[..<count])
        do throws(HTTPFault) {
          guard try HeadParser.end(of: some, from: searched) == nil else { return (true, nil) }
          try HeadPrefix.check(some, from: searched, of: kind)
          return (false, nil)
        } catch {
          return (true, error)
        }
      }
      if look.isOver { return look.fault }
      searched = count
    }
    return nil
  }

  private static let pieces = [1, 2, 3, 5, 7, 1_000]

  @Test(arguments: [
    ("GET /c HTTP/1.1\nHost: a\n\n", 400), ("GET /c HTTP/1.1\r\nHost: a\r\n\n", 400), ("GET /c\r\n", 400),
    ("GET /c HTTP/1.1\r\nHost: a\n", 400), ("\n", 400), ("\r\rG", 400), ("\r\n\n", 400),
    ("SSH-2.0-OpenSSH_9.2\r\n", 400),
    ("\u{16}\u{3}\u{1}", 400), (" GET", 400), ("GET\t", 400), ("\(String(repeating: "M", count: 33))", 400),
    ("GET /c\td", 400), ("GET /\u{e4}", 400), ("GET /c HTTP/1.1\rX", 400), ("GET /a b HTTP/1.1\r\n", 400),
    ("GET /c#d HTTP/1.1\r\n", 400), ("PRI * HTTP/2.0\r\n", 505), ("GET / HTTP/1.1\r\n x: folded", 400),
    ("GET / HTTP/1.1\r\nA: 1\r\n folded", 400), ("GET / HTTP/1.1\r\nA : 1", 400), ("GET / HTTP/1.1\r\nBad Name", 400),
    ("GET / HTTP/1.1\r\nA\r\n", 400), ("GET / HTTP/1.1\r\n: 1", 400), ("GET / HTTP/1.1\r\nA: \u{0}", 400),
    ("GET / HTTP/1.1\r\nA: b\rc", 400), ("GET / HTTP/1.1\r\nA: 1\r\nB: \u{7f}", 400), ("GET / HTTP/1.1\r\n\rX", 400),
  ])
  func whatCanBecomeNoRequestIsRefusedHoweverItCame(text: String, status: Int) {
    for pieces in Self.pieces {
      #expect(fault(Array(text.utf8), .request, pieces: pieces)?.status == status, "in pieces of \(pieces)")
    }
  }

  @Test func everyBeginningOfARequestIsWaitedFor() {
    let whole = "GET /a?b|{c} HTTP/1.1\r\nHost: a\r\nAccept: \t*/* \r\nX: \u{e9}\r\nEmpty:\r\n\r"
    for count in 0...whole.utf8.count {
      for pieces in Self.pieces { #expect(fault(Array(whole.utf8.prefix(count)), .request, pieces: pieces) == nil) }
    }
  }

  @Test(arguments: [
    "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\nok", "SSH-2.0-x", "SSH", "h",
    "\u{0}\u{0}\u{12}\u{4}", "220 smtp\r\n", "ICY 200", "HTTP/2 200", "\r\n", "\n", "HTTP/1.1 2000 OK\r\n",
    "HTTP/1.x 200 OK\r\n",
    "HTTP/1.1 200 OK\r\nA B", "HTTP/1.1 200 OK\r\n folded", "HTTP/1.1 200 O\u{0}K", "HTTP/1.1 200 OK\rX",
  ])
  func whatCanBecomeNoResponseIsRefusedHoweverItCame(text: String) {
    for pieces in Self.pieces {
      #expect(fault(Array(text.utf8), .response, pieces: pieces) != nil, "in pieces of \(pieces)")
    }
  }

  @Test func everyBeginningOfAResponseIsWaitedFor() {
    let whole = Array("HTTP/1.1 200 All is\twell \u{e9}\r\nServer: x\r\nA: b\tc\r\nD:\r\n\r".utf8)
    for count in 0...whole.count {
      for pieces in Self.pieces { #expect(fault(Array(whole.prefix(count)), .response, pieces: pieces) == nil) }
    }
  }

  @Test func whatIsRefusedEarlyIsRefusedAsAWholeToo() {
    var random = RandomIDs()
    let alphabet = Array("GE/ HTP1.:a-\r\n\r\n\t\u{0}x".utf8)
    for _ in 0..<20_000 {
      var bytes = Array("GET / HTTP/1.1\r\n".utf8.prefix(Int(random.next() % 17)))
      bytes += (0..<Int(random.next() % 24)).map { _ in alphabet[Int(random.next() % UInt64(alphabet.count))] }
      // A whole head is its parser's to judge.
      guard !bytes.indices.contains(where: { bytes[$0...].starts(with: Array("\r\n\r\n".utf8)) }) else { continue }
      let early = fault(bytes, .request, pieces: Int(random.next() % 5) + 1)
      let inOne = fault(bytes, .request, pieces: bytes.count + 1)
      #expect((early == nil) == (inOne == nil), "\(bytes)")
      _ = fault(bytes, .response, pieces: Int(random.next() % 5) + 1)
    }
  }
}
