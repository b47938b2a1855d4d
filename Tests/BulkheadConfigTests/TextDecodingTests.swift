import BulkheadConfig
import Foundation
import Testing

/// What editors make of a text file.
@Suite struct TextDecodingTests {
  private static let mark: [UInt8] = [0xEF, 0xBB, 0xBF]

  @Test func aByteOrderMarkIsSkippedInEveryFileThatIsRead() throws {
    let certificate = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
    let tree = try Tree(["plugins.d/.keep": ""])
    let files = [
      ("bulkhead.yaml", Tree.listeners + "upstreams: [{name: a, endpoints: ['h:1'], tls: {caFile: ca.pem}}]\n"),
      ("plugins.d/a.yaml", Tree.manifest("a", annotations: "{bulkhead/policy: p}")), ("policies/p.yaml", "name: p\n"),
      ("ca.pem", certificate),
    ]
    for (name, text) in files { try tree.write(name, Self.mark + Array(text.utf8)) }
    let loaded = try tree.load()
    #expect(loaded.plugins.map(\.policy) == ["p"])
    #expect(loaded.plugins.first?.location.column == 9, "places do not count it")
    #expect(loaded.configuration.upstreams.first?.tls?.authorities == Array(certificate.utf8))
  }

  @Test func filesThatWerePutTogetherHaveTheirMarksBeforeTheirDocuments() throws {
    let tree = try Tree()
    let (a, b) = (Array(Tree.manifest("a").utf8), Array(("---\n" + Tree.manifest("b")).utf8))
    try tree.write("plugins.d/a.yaml", Self.mark + a + [0x0A] + Self.mark + b)
    #expect(try tree.load().plugins.map(\.name) == ["a", "b"])
    #expect(try TextDecoding.text(Array("a\r\n\u{FEFF}--- b\n\u{FEFF}c".utf8)) == "a\r\n--- b\n\u{FEFF}c")
  }

  static let encodings: [(String.Encoding, String)] = [
    (.utf16, "UTF-16"), (.utf16LittleEndian, "UTF-16"), (.utf16BigEndian, "UTF-16"), (.utf32, "UTF-32"),
    (.utf32LittleEndian, "UTF-32"), (.utf32BigEndian, "UTF-32"),
  ]

  @Test(arguments: encodings) func anotherEncodingIsNamed(_ encoding: String.Encoding, _ name: String) throws {
    let tree = try Tree()
    try tree.write("plugins.d/a.yaml", Array(try #require(Tree.manifest().data(using: encoding))))
    #expect(tree.errors() == ["plugins.d/a.yaml: is \(name), not UTF-8: save it as UTF-8"])
  }

  static let bytes: [([UInt8], Int, Int)] = [
    ([0xE4], 1, 1), (Array("a\nb\u{E4}c ".utf8) + [0xE4, 0x20], 2, 5), (Array("a\n".utf8) + [0xC3], 2, 1),
    (Array("ab".utf8) + [0xED, 0xA0, 0x80], 1, 3), ([0xEF, 0xBB, 0xBF, 0x61, 0xFF], 1, 2), ([0x80], 1, 1),
  ]

  @Test(arguments: bytes) func theFirstByteThatIsNoTextIsToldWithItsPlace(_ bytes: [UInt8], _ line: Int, _ column: Int)
    throws
  {
    let error = #expect(throws: TextDecoding.Failure.self) { try TextDecoding.text(bytes) }
    #expect(error?.line == line && error?.column == column, "\(String(describing: error))")
  }

  @Test func whatIsPackedIsSaidToBe() throws {
    let tree = try Tree()
    try tree.write("plugins.d/a.yaml", [0x1F, 0x8B, 8, 0, 0, 0])
    #expect(tree.errors() == ["plugins.d/a.yaml: is compressed (gzip), not UTF-8: save it as UTF-8"])
  }

  @Test func randomBytesAreTextOrAnError() {
    var generator = SeededGenerator(state: 7)
    for count in 0..<2_000 {
      let bytes = (0..<(count % 40)).map { _ in UInt8.random(in: 0...255, using: &generator) }
      if let text = try? TextDecoding.text(bytes) { #expect(text.utf8.count <= bytes.count) }
    }
  }
}
