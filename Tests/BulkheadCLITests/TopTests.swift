import BulkheadControl
import BulkheadCore
import Testing

@testable import BulkheadCLI

@Suite struct TopTests {
  private static func row(_ name: String, rate: Double? = nil, _ change: (inout TopRow) -> Void = { _ in }) -> TopRow {
    var row = TopRow(name: name)
    row.rate = rate
    change(&row)
    return row
  }

  private static let head = ["bulkheadd 0.1.0: running, pid 1, up 3d4h", "edge: 10 req/s, 0.0 5xx/s", "front: ready"]

  private static func lines(_ layout: TopLayout, _ rows: [TopRow], coloured: Bool = false) -> [String] {
    layout.text(head: head, rows: rows, footer: "by rate; keys: r n l m s order, q quits", coloured: coloured)
      .split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
  }

  private static let fifty = (1...50).map { number in
    row("p0\(number)-with-a-name-that-is-long", rate: Double(51 - number) * 1_000) {
      $0.p99 = 0.0123
      $0.pss = 123_456_789
      $0.restarts = 12_345
    }
  }

  @Test(arguments: [(80, 24), (60, 12), (120, 40), (200, 60), (40, 10), (20, 6), (1, 1), (0, 0), (80, 3)])
  func nothingIsWiderOrHigherThanTheScreen(width: Int, height: Int) {
    for coloured in [false, true] {
      let lines = Self.lines(TopLayout(width: width, height: height), Self.fifty, coloured: coloured)
      #expect(lines.count <= max(height, TopLayout.leastHeight))
      for line in lines {
        #expect(TopLayout.visibleCount(line) <= max(width, TopLayout.leastWidth), "\(line)")
      }
    }
  }

  @Test func asManyPluginsAsFitAreShownAndTheOthersAreCounted() {
    let lines = Self.lines(TopLayout(width: 80, height: 24), Self.fifty)
    let rows = lines.filter { $0.hasPrefix("p0") }
    #expect(lines.count == 24 && rows.count == 18, "\(lines)")
    #expect(lines.last?.hasPrefix("18 of 50 plugins, 32 more; by rate; keys") == true, "\(lines)")
    let small = Self.lines(TopLayout(width: 60, height: 12), Self.fifty)
    #expect(small.count { $0.hasPrefix("p0") } >= 5, "\(small)")
    #expect(small.contains { $0.hasPrefix("PLUGIN") && $0.contains("CB/S") && $0.contains("P99") }, "\(small)")
    // All fit: nothing is said of others.
    #expect(!Self.lines(TopLayout(width: 80, height: 80), Self.fifty).contains { $0.contains("more") })
  }

  static let widths: [(Int?, [String])] = [
    (20, ["PLUGIN", "STATE", "CB/S"]), (40, ["PLUGIN", "STATE", "CB/S", "P99", "FAILED/S", "PSS"]),
    (60, ["PLUGIN", "STATE", "WORKERS", "CB/S", "P99", "FAILED/S", "PSS", "RESTARTS"]),
    (nil, TopLayout.columns.map(\.title)),
  ]

  @Test(arguments: widths) func columnsAreChosenByTheWidth(width: Int?, titles: [String]) {
    let lines = Self.lines(TopLayout(width: width, height: nil), [Self.row("geo", rate: 5)])
    let shown = lines.first { $0.hasPrefix("PLUGIN") }?.split(separator: " ").map(String.init)
    #expect(shown == titles)
  }

  @Test func everyColumnHasItsImportance() {
    #expect(Set(TopLayout.byImportance) == Set(TopLayout.columns.map(\.title)))
    #expect(TopLayout.byImportance.count == TopLayout.columns.count)
  }

  @Test func aTextThatIsCutEndsItsColour() {
    #expect(TopLayout.cut("abcdef", 4) == "abc…")
    #expect(TopLayout.cut("abcd", 4) == "abcd")
    #expect(TopLayout.cut("abcdef", nil) == "abcdef")
    #expect(TopLayout.cut("\u{1B}[32mabcdef\u{1B}[0m", 4) == "\u{1B}[32mabc\u{1B}[0m…")
    #expect(TopLayout.cut("\u{1B}[32mabcd\u{1B}[0m", 4) == "\u{1B}[32mabcd\u{1B}[0m")
  }

  static let orders: [(TopOrder, [String])] = [
    (.rate, ["c", "a", "b", "d"]), (.name, ["a", "b", "c", "d"]), (.latency, ["b", "a", "c", "d"]),
    (.memory, ["d", "a", "b", "c"]), (.restarts, ["a", "b", "c", "d"]),
  ]

  @Test(arguments: orders) func equalPluginsKeepTheirPlaces(order: TopOrder, names: [String]) {
    let rows = [
      Self.row("d", rate: 1) { $0.pss = 9 }, Self.row("c", rate: 3), Self.row("b", rate: 1) { $0.p99 = 1 },
      Self.row("a", rate: 1) { $0.restarts = 1 },
    ]
    for shuffled in [rows, rows.reversed(), rows.shuffled()] { #expect(order.sorted(shuffled).map(\.name) == names) }
  }

  @Test func requestsAreReadOutOfTheMetrics() {
    let metrics = """
      # TYPE bulkhead_requests_total counter
      bulkhead_requests_total{listener="edge",code="2xx"} 90
      bulkhead_requests_total{listener="edge",code="5xx"} 10
      bulkhead_requests_total{listener="a\\"b}",code="none"} 1
      bulkhead_requests_total{listener="edge"} 7
      bulkhead_requests_total{listener="edge",code="4xx"} x
      bulkhead_requests_total{
      bulkhead_requests_totals{listener="edge",code="2xx"} 5
      """
    #expect(
      RequestCounts.parse(metrics) == ["edge": .init(all: 100, failed: 10), "a\"b}": .init(all: 1, failed: 0)])
    #expect(RequestCounts.parse("").isEmpty)
  }
}
