import BulkheadControl

/// Puts `bulkheadctl top` on a screen: columns by its width, rows by its height.
struct TopLayout {
  /// Characters of a line; nil where there is no end.
  var width: Int?
  /// Lines; nil where there is no end.
  var height: Int?

  /// Less is not made smaller: what does not fit then is cut.
  static let leastWidth = 20
  static let leastHeight = 6
  /// Of a name that is cut, so much stays at least.
  private static let leastName = 10

  struct Column: Sendable {
    var title: String
    var alignment: Table.Alignment
    var cell: @Sendable (TopRow) -> Table.Cell
  }

  /// As they stand, from left to right.
  static let columns: [Column] = [
    .init(title: "PLUGIN", alignment: .left) { .init($0.name) },
    .init(title: "STATE", alignment: .left) { View.cell($0.state) },
    .init(title: "WORKERS", alignment: .right) { .init("\($0.readyWorkers)/\($0.workers)") },
    .init(title: "CB/S", alignment: .right) { .init(Reading.rate($0.rate)) },
    .init(title: "P50", alignment: .right) { .init(Reading.time($0.p50)) },
    .init(title: "P99", alignment: .right) { .init(Reading.time($0.p99)) },
    .init(title: "OUTST", alignment: .right) { .init($0.outstanding.map(String.init) ?? "-") },
    .init(title: "RING", alignment: .right) { row in
      .init(row.ring.map { Reading.share($0.callbackRingBytes, of: $0.callbackRingCapacity) } ?? "-")
    },
    .init(title: "WAITING", alignment: .right) { .init($0.waiting.map(String.init) ?? "-") },
    .init(title: "FAILED/S", alignment: .right) { .init(Reading.rate($0.failed)) },
    .init(title: "PSS", alignment: .right) { .init(Reading.bytes($0.pss)) },
    .init(title: "GUEST", alignment: .right) { .init(Reading.bytes($0.guest)) },
    .init(title: "RESTARTS", alignment: .right) { .init("\($0.restarts)") },
  ]

  /// What is shown first where not everything has its place.
  static let byImportance = [
    "PLUGIN", "STATE", "CB/S", "P99", "FAILED/S", "PSS", "RESTARTS", "WORKERS", "WAITING", "P50", "RING", "OUTST",
    "GUEST",
  ]

  /// The whole screen: at most `height` lines of at most `width` characters each.
  ///
  /// - Parameters:
  ///   - head: lines above the table, the most important ones first.
  ///   - rows: in the order that they are shown in.
  ///   - footer: said below where the screen has an end.
  func text(head: [String], rows: [TopRow], footer: String, coloured: Bool) -> String {
    let width = width.map { max($0, Self.leastWidth) }
    let height = height.map { max($0, Self.leastHeight) }
    // Of a low screen the table has at least half.
    let head = head.prefix(height.map { max(1, min(head.count, $0 / 2 - 2)) } ?? head.count).map { Self.cut($0, width) }
    guard !rows.isEmpty else { return (head + ["", "no plugins"]).joined(separator: "\n") }
    // A blank, the titles, and the footer.
    let room = height.map { max(1, $0 - head.count - 3) } ?? rows.count
    let shown = Array(rows.prefix(room))
    var lines = head + [""]
    lines.append(table(shown, width).rendered(coloured: coloured))
    if height != nil {
      let more =
        rows.count > shown.count ? "\(shown.count) of \(rows.count) plugins, \(rows.count - shown.count) more; " : ""
      lines.append(Self.cut(more + footer, width))
    }
    return lines.joined(separator: "\n")
  }

  private func table(_ rows: [TopRow], _ width: Int?) -> Table {
    var names = rows.map { Table.printable($0.name) }
    if let width {
      // What else matters most has its place beside the longest name.
      let most = max(Self.leastName, width / 2 - 2)
      names = names.map { Self.cut($0, most) }
    }
    var cells = Self.columns.map { column in rows.map(column.cell) }
    cells[0] = names.map { Table.Cell($0) }
    let widths = zip(Self.columns, cells).map { column, cells in
      max(column.title.count, cells.map(\.text.count).max() ?? 0)
    }
    let places = Self.places(widths, width)
    var table = Table(columns: places.map { (Self.columns[$0].title, Self.columns[$0].alignment) })
    table.rows = rows.indices.map { row in places.map { cells[$0][row] } }
    return table
  }

  /// Which columns there is room for: in the order of their importance until one does not fit.
  static func places(_ widths: [Int], _ width: Int?) -> [Int] {
    guard let width else { return Array(columns.indices) }
    var places: [Int] = []
    var used = 0
    for title in byImportance {
      guard let place = columns.firstIndex(where: { $0.title == title }) else { continue }
      let needed = widths[place] + (places.isEmpty ? 0 : 2)
      guard used + needed <= width || places.isEmpty else { break }
      used += needed
      places.append(place)
    }
    return places.sorted()
  }

  /// The text in so many characters; what is cut ends in an ellipsis. Colours do not count, and end where it is cut.
  static func cut(_ text: String, _ width: Int?) -> String {
    guard let width else { return text }
    var result = ""
    var count = 0
    var isColour = false
    var hasColour = false
    let visible = visibleCount(text)
    guard visible > width else { return text }
    for character in text {
      if character == "\u{1B}" {
        isColour = true
        hasColour = true
      }
      if !isColour {
        guard count < width - 1 else { break }
        count += 1
      }
      result.append(character)
      if isColour, character == "m" { isColour = false }
    }
    return result + (hasColour ? "\u{1B}[0m" : "") + "…"
  }

  /// Characters that take a place on the screen.
  static func visibleCount(_ text: String) -> Int {
    var count = 0
    var isColour = false
    for character in text {
      if character == "\u{1B}" { isColour = true }
      if !isColour { count += 1 }
      if isColour, character == "m" { isColour = false }
    }
    return count
  }
}

extension View {
  /// The status, the listeners' rates, and the plugins in their order.
  func show(
    _ sample: TopSample, since before: TopSample, by order: TopOrder = .rate, in layout: TopLayout = TopLayout(),
    footer: String = ""
  ) throws(ControlFailure) -> String {
    let seconds = sample.seconds(since: before)
    let rows = order.sorted(sample.plugins.map { TopRow($0, sample, since: before, seconds) })
    var status = StatusResponse(
      version: sample.status.version, pid: sample.status.pid, uptimeSeconds: sample.status.uptimeSeconds,
      state: sample.status.state, front: sample.status.front, listeners: [], counts: sample.status.counts)
    status.usage = sample.status.usage
    // The head without the list of listeners.
    let head = try show(status).split(separator: "\n").prefix { !$0.isEmpty && !$0.hasPrefix("LISTENER") }
    // The first line, the rates and the plugins come before what is said of the front.
    var lines = head.map(String.init)
    let rates = Self.rates(sample, since: before, seconds)
    if !rates.isEmpty { lines.insert(rates, at: min(1, lines.count)) }
    return layout.text(head: lines, rows: rows, footer: footer, coloured: coloured)
  }

  /// Requests and failed ones a second, of each listener; empty where there is none.
  static func rates(_ sample: TopSample, since before: TopSample, _ seconds: Double) -> String {
    sample.status.listeners.map(\.name).compactMap { name -> String? in
      guard let now = sample.requests[name] else { return nil }
      let earlier = before.requests[name]
      let all = earlier.flatMap { PluginReport.rate($0.all, now.all, seconds) }
      let failed = earlier.flatMap { PluginReport.rate($0.failed, now.failed, seconds) }
      return "\(Table.printable(name)): \(Reading.rate(all)) req/s, \(Reading.rate(failed)) 5xx/s"
    }.joined(separator: "; ")
  }
}
