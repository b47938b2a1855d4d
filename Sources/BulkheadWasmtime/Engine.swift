import CWasmtime

/// One configuration of Wasmtime and what it shares between modules. One a process is enough.
///
/// It is used from one thread; the interrupt (`installInterrupt`) is the only thing that touches it from a signal handler.
public final class Engine {
  let pointer: OpaquePointer
  /// What it was made with.
  public let settings: EngineSettings

  /// - Throws: `WasmtimeError` where there is no memory for it or the machine is not supported.
  public init(_ settings: EngineSettings = EngineSettings()) throws(WasmtimeError) {
    guard let configuration = settings.makeConfiguration(),
      let engine = wasm_engine_new_with_config(configuration)
    else { throw WasmtimeError(action: "start the Wasm engine", reason: "Wasmtime gave no engine") }
    self.settings = settings
    pointer = engine
  }

  deinit { wasm_engine_delete(pointer) }

  /// Makes SIGUSR1 interrupt the guest call that runs when it arrives: the guest traps with a backtrace some
  /// microseconds later. A signal sent with a value (`sigqueue`) interrupts only the callback of that number (the low
  /// half of `Instance.callbackSequence`); where no guest runs, nothing happens.
  ///
  /// Install it before a seccomp filter forbids `rt_sigaction`. The engine must live as long as the process.
  ///
  /// - Throws: `WasmtimeError` where the kernel refuses the handler.
  public func installInterrupt() throws(WasmtimeError) {
    let code = bh_interrupt_install(pointer)
    guard code == 0 else {
      throw WasmtimeError(action: "install the handler of SIGUSR1", reason: "sigaction failed with errno \(code)")
    }
  }

  /// Whether a signal has interrupted the guest call that runs now: it traps as soon as its code runs again. What waits in
  /// a host function should return.
  public static var isInterrupted: Bool { bh_interrupt_is_pending() != 0 }
}
