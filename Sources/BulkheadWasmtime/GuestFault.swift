import CWasmtime

/// Why a guest's run came to its end: it cannot be used again.
public struct GuestFault: Error, Sendable, Equatable, CustomStringConvertible {
  /// What ended it.
  public enum Kind: Sendable, Equatable {
    /// A Wasm trap; its text names it.
    case trap(TrapCode)
    /// The guest called `proc_exit` with this code.
    case exit(Int32)
    /// A signal interrupted it: its time was over.
    case interrupted
    /// A hostcall ended it, or Wasmtime refused the call.
    case host
  }

  /// What ended it.
  public var kind: Kind
  /// What happened, one line.
  public var message: String
  /// The guest's frames, innermost first, one a line; function names where the module has them.
  public var backtrace: String

  /// For a fault that no trap or error of Wasmtime stands for; "" is no backtrace.
  public init(kind: Kind, message: String, backtrace: String) {
    self.kind = kind
    self.message = message
    self.backtrace = backtrace
  }

  public var description: String { backtrace.isEmpty ? message : "\(message)\n\(backtrace)" }

  /// Takes over what a call gave back; nil where it went well. At most one of the two is there.
  init?(trap: OpaquePointer?, error: OpaquePointer?) {
    if let trap {
      defer { wasm_trap_delete(trap) }
      var frames = wasm_frame_vec_t()
      wasm_trap_trace(trap, &frames)
      let backtrace = Self.text(&frames)
      var number: UInt8 = 0
      if wasmtime_trap_code(trap, &number) {
        let code = TrapCode(rawValue: number)
        self.init(kind: code == .interrupt ? .interrupted : .trap(code), message: code.text, backtrace: backtrace)
      } else {
        var message = wasm_byte_vec_t()
        wasm_trap_message(trap, &message)
        defer { wasm_byte_vec_delete(&message) }
        self.init(kind: .host, message: Self.lastCause(of: message), backtrace: backtrace)
      }
    } else if let error {
      defer { wasmtime_error_delete(error) }
      var frames = wasm_frame_vec_t()
      wasmtime_error_wasm_trace(error, &frames)
      let backtrace = Self.text(&frames)
      var message = wasm_name_t()
      wasmtime_error_message(error, &message)
      defer { wasm_byte_vec_delete(&message) }
      self.init(kind: .host, message: Self.lastCause(of: message), backtrace: backtrace)
    } else {
      return nil
    }
  }

  /// Wasmtime puts the backtrace into its messages too: the cause is the last line that is not empty.
  /// What is before the last bytes is the backtrace, as long as the module's names make it.
  private static func lastCause(of message: wasm_byte_vec_t) -> String {
    String(String(message, last: 1_024).split(separator: "\n").last ?? "").trimmingSpaces
  }

  private static let maximumFrames = 48
  /// A function's name is as long as the module likes: the most of one, and of all lines, that is copied, in bytes.
  private static let maximumName = 200
  private static let maximumBacktrace = 2_800
  private static let maximumLine = maximumName + 60

  /// Takes the frames over.
  private static func text(_ frames: inout wasm_frame_vec_t) -> String {
    defer { wasm_frame_vec_delete(&frames) }
    guard let data = frames.data else { return "" }
    var text = ""
    var written = 0
    for index in 0..<min(frames.size, maximumFrames) {
      guard text.utf8.count < maximumBacktrace - maximumLine, let frame = data[index] else { break }
      written = index + 1
      let name =
        wasmtime_frame_func_name(frame).map { String($0.pointee, first: maximumName) }
        ?? "<function \(wasm_frame_func_index(frame))>"
      if !text.isEmpty { text += "\n" }
      text += "\(index): \(name) at 0x\(String(wasm_frame_module_offset(frame), radix: 16))"
    }
    if frames.size > written { text += "\n... \(frames.size - written) frames more" }
    return text
  }
}

extension StringProtocol {
  /// Without the spaces at both ends.
  var trimmingSpaces: String {
    var part = self[...]
    while part.first == " " { part.removeFirst() }
    while part.last == " " { part.removeLast() }
    return String(part)
  }
}

/// The reason of a Wasm trap, in Wasmtime's numbers; any number is one.
public struct TrapCode: RawRepresentable, Sendable, Hashable {
  public var rawValue: UInt8
  public init(rawValue: UInt8) { self.rawValue = rawValue }

  /// The native stack that a guest may use is full.
  public static let stackOverflow = TrapCode(rawValue: 0)
  /// What compilers make of an abort or a panic.
  public static let unreachable = TrapCode(rawValue: 9)
  /// The epoch ended: a signal interrupted the guest.
  public static let interrupt = TrapCode(rawValue: 10)

  private static let texts: [UInt8: String] = [
    0: "call stack exhausted",
    1: "memory access out of bounds",
    2: "misaligned atomic access",
    3: "table access out of bounds",
    4: "indirect call to null",
    5: "indirect call with another type",
    6: "integer overflow",
    7: "integer division by zero",
    8: "conversion of a float that no integer can hold",
    9: "unreachable executed (abort or panic)",
    10: "interrupted: its time was over",
    13: "null reference",
    15: "allocation too large",
    49: "uncaught exception",
  ]

  /// What it means, for people.
  public var text: String { Self.texts[rawValue] ?? "trap \(rawValue)" }
}
