import BulkheadCore
import BulkheadTestSupport
import Testing

@Suite struct HeaderRulesTests {
  private func allows(_ name: String, _ value: String, _ map: HeaderRules.Map) -> Bool {
    Array(name.utf8).withUnsafeBytes { name in
      Array(value.utf8).withUnsafeBytes { HeaderRules.allows(name, $0, in: map) }
    }
  }

  @Test(
    arguments: [
      (":method", "GET", [.request, .call]), (":METHOD", "get", [.request, .call]), (":method", "", []),
      (":method", "CONNECT", []), (":method", "connect", []), (":method", "G T", []),
      (":scheme", "http", [.request, .call]), (":scheme", "https", [.request, .call]), (":scheme", "HTTPS", [.call]),
      (":scheme", "ftp", []), (":scheme", "", []),
      (":authority", "h:80", [.request, .call]), (":authority", "", [.call]), (":authority", "u@h", []),
      (":path", "/a?b", [.request, .call]), (":path", "*", [.request, .call]), (":path", "a", []), (":path", "", []),
      (":path", "/a b", []), (":path", "/#", []),
      (":status", "200", [.response]), (":status", "599", [.response]), (":status", "199", []),
      (":status", "600", []), (":status", "0200", []), (":status", "+20", []), (":status", "", []),
      (":other", "x", []), (":", "x", []),
    ] as [(String, String, [HeaderRules.Map])])
  func aPseudoHeaderStandsWhereItBelongsWithWhatItMeans(name: String, value: String, maps: [HeaderRules.Map]) {
    for map in [HeaderRules.Map.request, .response, .call, .localResponse, .trailers] {
      #expect(allows(name, value, map) == maps.contains(map), "\(map)")
    }
  }

  @Test(arguments: [
    ("a", "", true), ("X-Thing", "a b\tc", true), ("!#$%&'*+-.^_`|~09", "\u{e9}", true), ("", "x", false),
    ("a b", "x", false), ("a:", "x", false), ("a\u{e9}", "x", false), ("a\r", "x", false), ("a", "x\r\ny: z", false),
    ("a", "\u{0}", false), ("a", "\u{7f}", false), ("a", "\u{1f}", false),
    (String(repeating: "n", count: 1 << 16), "", true), (String(repeating: "n", count: 1 << 16 + 1), "", false),
  ])
  func aNameIsATokenAndAValueHasNoControlCharacter(name: String, value: String, isAllowed: Bool) {
    for map in [HeaderRules.Map.request, .response, .call, .localResponse, .trailers] {
      #expect(allows(name, value, map) == isAllowed, "\(map)")
    }
  }

  @Test func aTokenHasTheCharactersOfRFC9110AndNoOthers() {
    let letters = Array("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~".utf8)
    for byte in UInt8.min...UInt8.max { #expect(ASCII.isToken(byte) == letters.contains(byte), "\(byte)") }
  }

  @Test func randomBytesAreAFieldOrNotAndNeverATrap() {
    var random = SplitMix(state: 12)
    for _ in 0..<20_000 {
      let name = (random.next() % 2 == 0 ? [UInt8(ascii: ":")] : []) + random.bytes(Int(random.next() % 8))
      let value = random.bytes(Int(random.next() % 8))
      for map in [HeaderRules.Map.request, .response, .call, .localResponse, .trailers] {
        name.withUnsafeBytes { name in value.withUnsafeBytes { _ = HeaderRules.allows(name, $0, in: map) } }
      }
    }
  }
}
