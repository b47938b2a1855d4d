/// Writes metrics in Prometheus' text format 0.0.4, within a bound.
///
/// A family stands together under its HELP and TYPE. What does not fit any more is left out as whole families, and the
/// last line says so.
public struct PrometheusText {
  /// What was written, without line ends.
  public private(set) var lines: [String] = []
  private var bytes = 0
  private let maximumBytes: Int
  private var leftOut = 0

  /// - Parameter maximumBytes: of the whole text.
  public init(maximumBytes: Int) { self.maximumBytes = maximumBytes }

  /// One value of a family.
  public struct Sample {
    /// What follows the family's name: `_sum`, for example.
    public var suffix = ""
    /// The sample's labels, as they are: they are escaped when they are written.
    public var labels: [(name: String, value: String)]
    /// The sample's value as text.
    public var value: String
    /// A sample of the metric, or of one of its series that has the suffix (`_sum`, `_count`, `_bucket`).
    public init(_ labels: [(name: String, value: String)], _ value: some CustomStringConvertible, suffix: String = "") {
      self.suffix = suffix
      self.labels = labels
      self.value = value.description
    }
  }

  /// Writes a family; nothing where it has no samples.
  ///
  /// - Parameters:
  ///   - name: valid, as `validName` makes one.
  ///   - kind: `counter`, `gauge` or `histogram`.
  public mutating func family(_ name: String, _ kind: String, help: String, _ samples: [Sample]) {
    guard !samples.isEmpty else { return }
    var fresh = Self.head(name, kind, help)
    var size = Self.size(fresh)
    for sample in samples {
      let line = Self.line(name, sample)
      size += line.utf8.count + 1
      guard bytes + size <= maximumBytes else {
        leftOut += 1
        return
      }
      fresh.append(line)
    }
    bytes += size
    lines += fresh
  }

  /// What a family takes of the text: bytes.
  public static func size(ofFamily name: String, _ kind: String, help: String, _ samples: [Sample]) -> Int {
    samples.reduce(size(head(name, kind, help))) { $0 + line(name, $1).utf8.count + 1 }
  }

  /// Bytes that are left.
  public var room: Int { max(maximumBytes - bytes, 0) }

  private static func head(_ name: String, _ kind: String, _ help: String) -> [String] {
    ["# HELP \(name) \(escaped(help, quoted: false))", "# TYPE \(name) \(kind)"]
  }

  private static func size(_ lines: [String]) -> Int { lines.reduce(0) { $0 + $1.utf8.count + 1 } }

  private static func line(_ name: String, _ sample: Sample) -> String {
    var line = name + sample.suffix
    if !sample.labels.isEmpty {
      line += "{"
      for (index, label) in sample.labels.enumerated() {
        line += (index == 0 ? "" : ",") + "\(label.name)=\"\(escaped(label.value, quoted: true))\""
      }
      line += "}"
    }
    return line + " \(sample.value)"
  }

  /// A line for people.
  public mutating func comment(_ text: String) {
    let line = "# \(Self.escaped(text, quoted: false))"
    guard bytes + line.utf8.count < maximumBytes else { return }
    bytes += line.utf8.count + 1
    lines.append(line)
  }

  /// Says what was left out, if anything was.
  public mutating func finish() {
    guard leftOut > 0 else { return }
    lines.append("# \(leftOut) families of metrics are left out: the text would be larger than \(maximumBytes) bytes")
  }

  /// The text in pieces of whole lines, each of at most so many bytes; a longer line is left out.
  public func pieces(ofAtMost limit: Int) -> [String] {
    var pieces: [String] = []
    var piece = ""
    var count = 0
    for line in lines {
      let size = line.utf8.count + 1
      guard size <= limit else { continue }
      if count + size > limit {
        pieces.append(piece)
        piece = ""
        count = 0
      }
      piece += line
      piece += "\n"
      count += size
    }
    if count > 0 || pieces.isEmpty { pieces.append(piece) }
    return pieces
  }

  /// The bytes as the end of a metric's name: what Prometheus does not take is an underscore.
  public static func validName(_ name: [UInt8]) -> String {
    String(
      decoding: name.map { byte in
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: byte
        default: UInt8(ascii: "_")
        }
      }, as: UTF8.self)
  }

  /// Text for a label's value or a comment. Control characters would reach an operator's screen: they are shown as
  /// `\xNN`.
  public static func escaped(_ text: String, quoted: Bool) -> String {
    let isPlain = text.utf8.allSatisfy { byte in
      byte >= 0x20 && byte < 0x7F && byte != UInt8(ascii: "\\") && (byte != UInt8(ascii: "\"") || !quoted)
    }
    if isPlain { return text }
    var result = ""
    result.reserveCapacity(text.utf8.count)
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\\": result += "\\\\"
      case "\"" where quoted: result += "\\\""
      case "\n": result += "\\n"
      default:
        if scalar.properties.generalCategory == .control || scalar.properties.generalCategory == .format {
          result += "\\\\x" + String(scalar.value, radix: 16)
        } else {
          result.unicodeScalars.append(scalar)
        }
      }
    }
    return result
  }
}
