import BulkheadCore
import BulkheadWire
import Glibc
import Synchronization

/// What the supervisor hears where Wasmtime aborts: it does where it gets no memory, and for faults of its own.
///
/// Without it the supervisor would see a signal and could not tell a module that is too large from a broken compiler.
enum LastWords {
  /// The frame, made before it is needed: a signal handler must not allocate. Written once, before other threads start.
  nonisolated(unsafe) private static var frame = UnsafeRawBufferPointer(start: nil, count: 0)
  /// What takes its place once the module is compiled; written once, by the only thread that is left then.
  nonisolated(unsafe) private static var listingFrame = UnsafeRawBufferPointer(start: nil, count: 0)

  /// Threads that compile together run out of memory together; the report is written once.
  private static let isSaid = Atomic<Bool>(false)

  /// Takes SIGABRT to report that the module is refused, and to exit with 65. The handler also makes the signal count in
  /// a process namespace, whose first process ignores it otherwise.
  static func install(memory: ByteCount) {
    frame = made(
      "compiling it took more memory than the \(memory) that a compiler may have, or met a fault of the compiler; "
        + "its last words are in the log")
    listingFrame = made(
      "it exports or imports something whose type is not of Proxy-Wasm, such as a function with a vector (v128) or a "
        + "reference of the GC proposal")
    // Made now, for the same reason.
    isSaid.store(false, ordering: .relaxed)
    signal(SIGABRT) { _ in
      // The first ends all of them within microseconds.
      while LastWords.isSaid.exchange(true, ordering: .relaxed) {}
      _ = write(ChildDescriptor.report, LastWords.frame.baseAddress, LastWords.frame.count)
      _exit(ExitCode.dataError)
    }
  }

  /// The module is compiled, and what it imports and exports is looked at: the engine's C API aborts where it has no number
  /// for a type.
  static func moduleIsListed() { frame = listingFrame }

  private static func made(_ detail: String) -> UnsafeRawBufferPointer {
    let bytes = ReportFrame.refused(detail: detail).encoded()
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    copy.copyBytes(from: bytes)
    return UnsafeRawBufferPointer(copy)
  }
}
