/// Rows of text in aligned columns.
struct Table {
  enum Alignment {
    case left, right
  }

  enum Colour: String {
    case green = "32"
    case yellow = "33"
    case red = "31"
  }

  struct Cell: ExpressibleByStringLiteral, Equatable {
    var text: String
    var colour: Colour?

    init(_ text: String, colour: Colour? = nil) {
      self.text = text
      self.colour = colour
    }

    init(stringLiteral text: String) { self.init(text) }
  }

  var columns: [(title: String, alignment: Alignment)]
  var rows: [[Cell]] = []

  /// The table with its titles, one line a row, two blanks between columns and none at the end of a line.
  func rendered(coloured: Bool) -> String {
    let cells =
      [columns.map { Cell($0.title) }] + rows.map { $0.map { Cell(Self.printable($0.text), colour: $0.colour) } }
    let widths = columns.indices.map { column in
      cells.map { column < $0.count ? $0[column].text.count : 0 }.max() ?? 0
    }
    return cells.map { row in
      var line = ""
      for (column, cell) in row.prefix(columns.count).enumerated() {
        let padding = String(repeating: " ", count: max(0, widths[column] - cell.text.count))
        let text = Self.painted(cell, coloured)
        line += (column == 0 ? "" : "  ") + (columns[column].alignment == .right ? padding + text : text + padding)
      }
      while line.hasSuffix(" ") { line.removeLast() }
      return line
    }.joined(separator: "\n")
  }

  static func painted(_ cell: Cell, _ coloured: Bool) -> String {
    guard coloured, let colour = cell.colour else { return cell.text }
    return "\u{1B}[\(colour.rawValue)m\(cell.text)\u{1B}[0m"
  }

  /// The text without what could move a terminal's cursor or colour it: some of it was said by plugins.
  static func printable(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned:
        if result.last != " " { result.append(" ") }
      default: result.unicodeScalars.append(scalar)
      }
    }
    return result
  }
}
