import CWasmtime

extension Engine {
  /// Does for this thread what Wasmtime does once, at a thread's first call: it makes an alternate signal stack. A sandbox
  /// that forbids it (`sigaltstack`) can be entered afterwards; instances can then be made and dropped under it as often
  /// as one likes. No code of a module runs here: what is called is a function of the host.
  ///
  /// - Throws: `WasmtimeError` where there is no memory for it.
  public func prepareThread() throws(WasmtimeError) {
    let action = "prepare the thread for guests"
    guard let store = wasmtime_store_new(pointer, nil, nil) else {
      throw WasmtimeError(action: action, reason: "Wasmtime gave no store")
    }
    defer { wasmtime_store_delete(store) }
    guard let context = wasmtime_store_context(store), let type = FunctionType([], []).makeType() else {
      throw WasmtimeError(action: action, reason: "Wasmtime gave no context")
    }
    defer { wasm_functype_delete(type) }
    var function = wasmtime_func_t()
    wasmtime_func_new_unchecked(context, type, { _, _, _, _ in nil }, nil, nil, &function)
    wasmtime_context_set_epoch_deadline(context, 1)
    var trap: OpaquePointer?
    let error = wasmtime_func_call_unchecked(context, &function, nil, 0, &trap)
    if let trap { wasm_trap_delete(trap) }
    if let error = WasmtimeError(action, error) { throw error }
  }
}
