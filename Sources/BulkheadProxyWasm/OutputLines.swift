import BulkheadCore

/// The guest's standard output and error, cut into lines: programs write a line in pieces.
final class OutputLines {
  private var pending: [[UInt8]] = [[], []]

  /// The level of a descriptor's lines ("wasi_snapshot_preview1.fd_write").
  private static let levels = [LogLevel.info, .error]

  /// Adds what was written to descriptor 1 or 2, and hands over every line that it ends.
  func append(
    _ bytes: UnsafeRawBufferPointer, descriptor: UInt32, _ emit: (LogLevel, UnsafeRawBufferPointer) -> Void
  ) {
    guard descriptor == 1 || descriptor == 2 else { return }
    let index = Int(descriptor) - 1
    for byte in bytes {
      if byte != UInt8(ascii: "\n") { pending[index].append(byte) }
      if byte == UInt8(ascii: "\n") || pending[index].count >= Limits.maximumLogLine { hand(over: index, emit) }
    }
  }

  /// Hands over what stands there without an end of line.
  func flush(_ emit: (LogLevel, UnsafeRawBufferPointer) -> Void) {
    for index in pending.indices where !pending[index].isEmpty { hand(over: index, emit) }
  }

  private func hand(over index: Int, _ emit: (LogLevel, UnsafeRawBufferPointer) -> Void) {
    guard !pending[index].isEmpty else { return }
    pending[index].withUnsafeBytes { emit(Self.levels[index], $0) }
    pending[index].removeAll(keepingCapacity: true)
  }
}
