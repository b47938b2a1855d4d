/// Makes text of a file's bytes. Everything that Bulkhead reads and people write is UTF-8, with or without a byte order
/// mark.
public enum TextDecoding {
  /// Why bytes are no such text.
  public struct Failure: Error, Equatable, Sendable {
    /// What they are instead, and what to do, as it follows the file's name.
    public var message: String
    /// The first byte that is wrong, from 1; nil where all of them are.
    public var line: Int?
    /// The byte of the line, from 1; nil where it is not one place.
    public var column: Int?
  }

  /// The text, without a byte order mark: at its beginning, and before the `---` of a further document, which is where
  /// files that were put together have theirs.
  ///
  /// - Throws: `Failure` that names the encoding where it can be told, else the place of the first byte that is no UTF-8.
  public static func text(_ bytes: some RandomAccessCollection<UInt8>) throws(Failure) -> String {
    if let other = otherEncoding(bytes) {
      throw Failure(message: "is \(other), not UTF-8: save it as UTF-8")
    }
    let bytes = withoutMarks(bytes)
    guard let text = String(validating: bytes, as: UTF8.self) else { throw invalid(bytes) }
    return text
  }

  private static let mark: [UInt8] = [0xEF, 0xBB, 0xBF]

  private static func withoutMarks(_ bytes: some RandomAccessCollection<UInt8>) -> [UInt8] {
    var bytes = Array(bytes)
    if bytes.starts(with: mark) { bytes.removeFirst(mark.count) }
    guard bytes.contains(mark[0]) else { return bytes }
    let document = [0x0A] + mark + Array("---".utf8)
    var kept: [UInt8] = []
    var rest = bytes[...]
    while let next = rest.firstIndex(of: 0x0A) {
      kept += rest[...next]
      let isMarked = rest[next...].starts(with: document)
      rest = rest[(next + 1)...].dropFirst(isMarked ? mark.count : 0)
    }
    return kept + rest
  }

  /// By the byte order mark, else by the zeros that ASCII has in other encodings (YAML 1.2, section 5.2).
  private static func otherEncoding(_ bytes: some RandomAccessCollection<UInt8>) -> String? {
    let start = Array(bytes.prefix(4))
    if start.starts(with: [0xFF, 0xFE, 0, 0]) || start.starts(with: [0, 0, 0xFE, 0xFF]) { return "UTF-32" }
    if start.starts(with: [0xFF, 0xFE]) || start.starts(with: [0xFE, 0xFF]) { return "UTF-16" }
    if start.starts(with: [0x1F, 0x8B]) { return "compressed (gzip)" }
    guard start.count == 4 else { return nil }
    switch start.map({ $0 == 0 }) {
    case [true, true, true, false], [false, true, true, true]: return "UTF-32"
    case [true, false, true, false], [false, true, false, true]: return "UTF-16"
    default: return nil
    }
  }

  private static func invalid(_ bytes: [UInt8]) -> Failure {
    let valid = validPrefix(bytes)
    let place = TextPlace(of: valid, in: bytes)
    let byte = bytes.dropFirst(valid).first.map { String($0, radix: 16, uppercase: true) } ?? ""
    return Failure(
      message: "is not UTF-8 text: the byte 0x\(byte) is no part of a character; save the file as UTF-8",
      line: place.line, column: place.column)
  }

  /// How many bytes are whole characters.
  private static func validPrefix(_ bytes: [UInt8]) -> Int {
    var decoder = Unicode.UTF8.ForwardParser()
    var iterator = bytes.makeIterator()
    var count = 0
    while case .valid(let scalar) = decoder.parseScalar(from: &iterator) { count += scalar.count }
    return count
  }
}
