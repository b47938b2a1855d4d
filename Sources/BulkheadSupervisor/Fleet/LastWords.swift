import BulkheadCore

/// What a plugin wrote last before its worker's start came to nothing: mostly why.
struct LastWords {
  /// Lines that are kept, and how much of each: bytes.
  private static let maximumLines = 3
  private static let maximumBytes = 400

  private var lines: [(level: LogLevel, text: String)] = []

  /// A line of its log. Warnings and errors push out what is less.
  mutating func add(_ level: LogLevel, _ line: String) {
    if lines.count >= Self.maximumLines {
      guard let least = lines.indices.min(by: { lines[$0].level < lines[$1].level }), lines[least].level <= level else {
        return
      }
      lines.remove(at: least)
    }
    let isCut = line.utf8.count > Self.maximumBytes
    lines.append((level, isCut ? String(decoding: line.utf8.prefix(Self.maximumBytes), as: UTF8.self) + "..." : line))
  }

  /// The gravest lines, in quotes: they are the plugin's, and nobody else's. Nil for none.
  var text: String? {
    guard let gravest = lines.map(\.level).max() else { return nil }
    let least = min(gravest, .warn)
    return lines.filter { $0.level >= least }.map { "\"\(LogText.escaped($0.text, quoted: true))\"" }
      .joined(separator: ", ")
  }
}
