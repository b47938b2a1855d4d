/// A record as journald's socket takes it (systemd.io/JOURNAL_NATIVE_PROTOCOL): a field a line, `NAME=value`; a value of
/// several lines after its length.
struct JournalEntry {
  private(set) var bytes: [UInt8] = []

  init(_ line: LogLine) {
    // `journalctl` shows the message alone, so that it has all; the fields are for finding it.
    add("MESSAGE", line.backtrace.reduce(line.summary) { $0 + "\n  " + LogText.escaped($1, quoted: false) })
    add("PRIORITY", "\(line.level.priority)")
    add("SYSLOG_IDENTIFIER", "bulkheadd")
    add("PROCESS", LogText.escaped(line.process, quoted: false))
    add("SOURCE", line.source?.rawValue ?? "bulkhead")
    if let plugin = line.plugin { add("PLUGIN", LogText.escaped(plugin, quoted: false)) }
    if let pid = line.pid { add("\(Self.name(line.process))_PID", "\(pid)") }
    if let request = line.request { add("REQUEST_ID", LogText.escaped(request, quoted: false)) }
    if let stream = line.stream { add("STREAM", "\(stream)") }
    if let callback = line.callback { add("CALLBACK", LogText.escaped(callback, quoted: false)) }
    if let microseconds = line.microseconds { add("DURATION_US", "\(microseconds)") }
    if !line.backtrace.isEmpty {
      add("BACKTRACE", line.backtrace.map { LogText.escaped($0, quoted: false) }.joined(separator: "\n"))
    }
  }

  private mutating func add(_ name: String, _ value: String) {
    bytes.append(contentsOf: name.utf8)
    let value = Array(value.utf8)
    if value.contains(UInt8(ascii: "\n")) {
      bytes.append(UInt8(ascii: "\n"))
      withUnsafeBytes(of: UInt64(value.count).littleEndian) { bytes.append(contentsOf: $0) }
    } else {
      bytes.append(UInt8(ascii: "="))
    }
    bytes.append(contentsOf: value)
    bytes.append(UInt8(ascii: "\n"))
  }

  /// The word as the name of a field: capitals.
  private static func name(_ word: String) -> String {
    String(decoding: word.utf8.map { (0x61...0x7A).contains($0) ? $0 &- 0x20 : $0 }, as: UTF8.self)
  }
}
