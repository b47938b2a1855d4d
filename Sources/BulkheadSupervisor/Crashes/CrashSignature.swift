import BulkheadCore

/// What makes two crashes of a plugin one kind of crash: the reason, the callback, and the innermost frames without their
/// addresses.
///
/// The frames are the module's words. They are escaped and cut here, so that a signature can be shown and kept as it is.
struct CrashSignature: Hashable, Sendable, CustomStringConvertible {
  /// Frames that count.
  static let maximumFrames = 3
  /// The most of a frame's or a callback's name, in bytes.
  static let maximumName = 128

  let reason: ExitReason
  /// The Proxy-Wasm export that ran; nil outside any.
  let callback: String?
  /// Names of functions, the innermost first; fewer where fewer are known.
  let frames: [String]

  /// - Parameter backtrace: as workers report it, a frame a line: `0: name at 0x1f`.
  init(reason: ExitReason, callback: String?, backtrace: some Sequence<String>) {
    self.reason = reason
    self.callback = callback.map(Self.bounded)
    frames = backtrace.lazy.compactMap(Self.function).prefix(Self.maximumFrames).map(Self.bounded)
  }

  /// For people: `trap in proxy_on_request_headers at check`.
  var description: String {
    reason.rawValue + (callback.map { " in \($0)" } ?? "") + (frames.first.map { " at \($0)" } ?? "")
  }

  /// The name in one line of a backtrace; nil where the line is no frame, such as the one that counts what was left out.
  private static func function(_ line: String) -> String? {
    var name = line[...]
    let digits = name.prefix { $0.isASCII && $0.isNumber }
    guard !digits.isEmpty, name.dropFirst(digits.count).hasPrefix(": ") else { return nil }
    name = name.dropFirst(digits.count + 2)
    // The address stands at the end; a name may have anything in it.
    let end = name.lastIndex { !$0.isHexDigit }
    if let end, name[end] == "x", end < name.index(before: name.endIndex), name[...end].hasSuffix(" at 0x") {
      name = name[...end].dropLast(" at 0x".count)
    }
    return name.isEmpty ? nil : String(name)
  }

  private static func bounded(_ name: String) -> String {
    let text = LogText.escaped(name, quoted: false)
    guard text.utf8.count > maximumName else { return text }
    return String(decoding: text.utf8.prefix(maximumName), as: UTF8.self) + "..."
  }
}
