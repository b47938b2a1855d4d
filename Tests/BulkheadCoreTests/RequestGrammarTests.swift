import BulkheadCore
import BulkheadTestSupport
import Testing

/// RFC 9112, 3.2, RFC 9110, 7.2 and RFC 3986, 3.2.2, as the front and workers ask them.
@Suite struct RequestGrammarTests {
  private func bytes(_ text: String, _ body: (UnsafeRawBufferPointer) -> Bool) -> Bool {
    Array(text.utf8).withUnsafeBytes(body)
  }

  @Test(arguments: [
    "h", "h.example", "h.example:80", "h:", "h:0", "h:65535", "h:00080", "127.0.0.1", "127.0.0.1:8080", "a_b-c~d.e",
    "1",
    "%41b", "a!$&'()*+,;=b", "[::]", "[::1]", "[::1]:80", "[::1]:", "[1:2:3:4:5:6:7:8]", "[1::8]:1",
    "[1:2:3:4:5:6:7::]",
    "[::2:3:4:5:6:7:8]", "[::ffff:127.0.0.1]", "[1:2:3:4:5:6:1.2.3.4]", "[fe80::AbCd]", "[v1.a:b]", "[vF.!]",
    "xn--bcher-kva.example", "999.1.1.1",
  ])
  func aHostWithOrWithoutAPortIsOne(text: String) { #expect(bytes(text) { RequestGrammar.isHost($0) }) }

  @Test(arguments: [
    "", ":80", "h.example/evil", "h/", "h?x", "h#x", "u@h", "u:p@h", "a:80x", "a:x", "a:-1", "a:+1", "a:1:2", "a::1",
    "a:65536", "a:99999999999999999999999", "\u{e9}.example", "\"a\"", "a\\b", "<script>", "a b", "a\tb", "a\u{0}",
    "a|b",
    "a^b", "a`b", "{a}", "%", "%4", "%4g", "a%zz", "[::1", "::1", "[::1]x", "[::1]80", "[]", "[:::]", "[1:2:3:4:5:6:7]",
    "[1:2:3:4:5:6:7:8:9]", "[1::2::3]", "[12345::]", "[::g]", "[1:2:3:4:5:6:7:]", "[:1:2:3:4:5:6:7]", "[127.0.0.1]",
    "[::1.2.3]", "[::1.2.3.256]", "[::01.2.3.4]", "[::1.2.3.4.5]", "[1:2:3:4:5:6:7:1.2.3.4]", "[fe80::1%25eth0]",
    "[v.a]",
    "[v1.]", "[vg.a]", "[v1]", "]", "[", "h]",
  ])
  func whatIsNoHostIsNone(text: String) { #expect(!bytes(text) { RequestGrammar.isHost($0) }) }

  @Test(arguments: [
    "/", "/a?b=c", "//a", "/%00", "/|{}[]\"<>\\^`", "*", "http://a/b", "a:1", "?x", "/a?b?c@:;,",
  ])
  func visibleASCIIWithoutAFragmentIsATarget(text: String) { #expect(bytes(text) { RequestGrammar.isTarget($0) }) }

  @Test(arguments: [
    "", "/admin#x", "/a?b#c", "#", "/\u{e4}", "/a b", "/a\tb", "/a\r", "/a\n", "/\u{0}", "/\u{7f}", "/\u{80}",
    "/\u{ff}",
  ])
  func whatTwoReadersCouldReadAsTwoTargetsIsNone(text: String) {
    #expect(!bytes(text) { RequestGrammar.isTarget($0) })
    #expect(!bytes(text) { RequestGrammar.isPath($0) })
  }

  @Test func rawBytesOverASCIIAreInNoTargetAndNoHost() {
    for byte in UInt8(0x7F)...0xFF {
      #expect(![UInt8(ascii: "/"), byte].withUnsafeBytes { RequestGrammar.isTarget($0) })
      #expect(![UInt8(ascii: "a"), byte].withUnsafeBytes { RequestGrammar.isHost($0) })
    }
  }

  @Test func aPathBeginsWithASlashOrIsAnAsterisk() {
    for text in ["/", "*", "/a?b"] { #expect(bytes(text) { RequestGrammar.isPath($0) }) }
    for text in ["a", "?a", "*a", "http://a/"] { #expect(!bytes(text) { RequestGrammar.isPath($0) }) }
  }

  @Test func randomBytesAreAHostOrNotAndNeverATrap() {
    var random = SplitMix(state: 11)
    let alphabet = Array("0129afgvV.:[]%@/-_!\u{0}".utf8)
    for _ in 0..<50_000 {
      let text = random.bytes(Int(random.next() % 24)).map { alphabet[Int($0) % alphabet.count] }
      text.withUnsafeBytes {
        _ = RequestGrammar.isHost($0)
        _ = RequestGrammar.isPath($0)
      }
    }
  }
}
