/// What modules that Emscripten built import from `env` beside the hostcalls: its library's own support functions, none of
/// which reaches outside the guest. The reference host has the first of them, older and newer releases of Emscripten emit the others.
public enum EmscriptenCall: UInt32, Sendable, CaseIterable {
  /// Whether two threads are the same one.
  case pthreadEqual = 0
  /// The upper half of a 64-bit result is kept, and given back.
  case setTempRet0 = 1
  case getTempRet0 = 2
  /// Memory grows by the instruction for it: this way is refused, and the library takes that for memory that is used up.
  case resizeHeap = 3
  /// What memory may grow to by that way, in bytes: it has no bound of its own.
  case heapMaximum = 4
  /// Copies within the guest's memory; the destination is the result.
  case memcpyBig = 5
  /// The same without a result, under the names of two releases.
  case memcpyJS = 6
  case memcpyJSUnderscored = 7
  /// Ends the guest's run, under the names of two releases.
  case abort = 8
  case abortJS = 9
  /// Ends it too; what was asserted goes to the log.
  case assertFail = 10
  /// The wall clock, a double in milliseconds.
  case now = 11
  case dateNow = 12
  /// The destructor of a thread: taken, and never run.
  case threadAtExit = 13

  /// The name of the import module.
  public static let module = "env"

  /// The name of the import.
  public var name: String { Self.rows[Int(rawValue)].name }

  /// The type that a module must import it with.
  public var signature: Signature { Signature(Self.rows[Int(rawValue)].signature) }

  /// One a case, in their order.
  private static let rows: [(name: String, signature: StaticString)] = [
    ("pthread_equal", "ii:i"),
    ("setTempRet0", "i:"),
    ("getTempRet0", ":i"),
    ("emscripten_resize_heap", "i:i"),
    ("emscripten_get_heap_max", ":i"),
    ("emscripten_memcpy_big", "iii:i"),
    ("emscripten_memcpy_js", "iii:"),
    ("_emscripten_memcpy_js", "iii:"),
    ("abort", ":"),
    ("_abort_js", ":"),
    ("__assert_fail", "iiii:"),
    ("emscripten_get_now", ":d"),
    ("emscripten_date_now", ":d"),
    ("__cxa_thread_atexit", "iii:i"),
  ]
}
