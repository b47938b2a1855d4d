import BulkheadCore
import Testing

@Suite struct PrometheusTextTests {
  typealias Sample = PrometheusText.Sample

  @Test func aFamilyStandsUnderItsHelpAndType() {
    var text = PrometheusText(maximumBytes: 1_000)
    text.family("a", "counter", help: "What\\it\nis.", [Sample([], 1), Sample([("x", "q\"\\\n"), ("y", "")], -2)])
    text.family("none", "gauge", help: "Nothing.", [])
    text.finish()
    #expect(
      text.lines == ["# HELP a What\\\\it\\nis.", "# TYPE a counter", "a 1", #"a{x="q\"\\\n",y=""} -2"#])
  }

  @Test(arguments: [
    ("hits", "hits"), ("a.b-c d", "a_b_c_d"), ("9:ä", "9___"), ("", ""), ("x\0\n", "x__"),
  ])
  func aNameIsMadeValid(name: String, valid: String) {
    #expect(PrometheusText.validName(Array(name.utf8)) == valid)
  }

  @Test(arguments: [
    ("\u{1B}[2J", #"\\x1b[2J"#), ("a\u{7F}\u{9B}", #"a\\x7f\\x9b"#), ("\u{202E}x", #"\\x202ex"#), ("ä€", "ä€"),
  ])
  func whatSteersATerminalIsShownAsItsNumber(value: String, shown: String) {
    #expect(PrometheusText.escaped(value, quoted: true) == shown)
  }

  @Test func whatDoesNotFitIsLeftOutAsAWholeAndSaidSo() {
    var text = PrometheusText(maximumBytes: 60)
    text.family("a", "gauge", help: "A.", [Sample([], 1)])
    text.family("b", "gauge", help: "B.", (0..<5).map { Sample([("n", "\($0)")], 1) })
    text.comment(String(repeating: "x", count: 100))
    text.finish()
    #expect(text.lines.count == 4)
    #expect(text.lines.last?.hasPrefix("# 1 families of metrics are left out") == true)
  }

  @Test func piecesAreWholeLines() {
    var text = PrometheusText(maximumBytes: 10_000)
    for index in 0..<50 { text.comment("line \(index)") }
    text.comment(String(repeating: "x", count: 200))
    let pieces = text.pieces(ofAtMost: 100)
    #expect(pieces.allSatisfy { $0.utf8.count <= 100 && $0.hasSuffix("\n") })
    #expect(pieces.joined().split(separator: "\n").count == 50)
    #expect(PrometheusText(maximumBytes: 10).pieces(ofAtMost: 10) == [""])
  }
}
