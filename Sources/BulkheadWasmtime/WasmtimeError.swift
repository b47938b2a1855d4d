import CWasmtime

/// Wasmtime refused something: a module that is not valid, an import that is not there, a limit.
public struct WasmtimeError: Error, Equatable, CustomStringConvertible {
  /// What was being done, for people: "compile the module".
  public var action: String
  /// Why it failed, in Wasmtime's words, which name the place in the module.
  public var reason: String

  /// `action` follows "cannot", `reason` a colon.
  public init(action: String, reason: String) {
    self.action = action
    self.reason = reason
  }

  public var description: String { "cannot \(action): \(reason)" }

  /// Takes an error object over; nil where there is none.
  init?(_ action: String, _ error: OpaquePointer?) {
    guard let error else { return nil }
    var message = wasm_name_t()
    wasmtime_error_message(error, &message)
    self.init(action: action, reason: String(message).oneLine)
    wasm_byte_vec_delete(&message)
    wasmtime_error_delete(error)
  }
}

extension String {
  /// The lines of Wasmtime's messages in one: what failed, then its causes.
  var oneLine: String {
    split(separator: "\n").map(\.trimmingSpaces).filter { !$0.isEmpty && $0 != "Caused by:" }.joined(separator: ": ")
  }
  /// The bytes as UTF-8, repaired where they are not; a NUL at their end is left out.
  ///
  /// - Parameters:
  ///   - first: the most bytes from their start that are copied.
  ///   - last: the most of those from their end.
  init(_ bytes: wasm_byte_vec_t, first: Int = .max, last: Int = .max) {
    guard let data = bytes.data else {
      self = ""
      return
    }
    var buffer = UnsafeRawBufferPointer(start: data, count: bytes.size)[...]
    if buffer.last == 0 { buffer = buffer.dropLast() }
    self.init(decoding: buffer.prefix(first).suffix(last), as: UTF8.self)
  }

  init(_ bytes: UnsafePointer<wasm_byte_vec_t>?) {
    if let bytes { self.init(bytes.pointee) } else { self = "" }
  }
}
