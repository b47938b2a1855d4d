import CWasmtime

/// What came out of a compilation: the native code, owned, and what the module asks for and offers.
public struct CompiledCode: ~Copyable {
  private var vector: wasm_byte_vec_t
  /// What the module asks for.
  public let imports: [ModuleImport]
  /// What it offers.
  public let exports: [ModuleExport]

  fileprivate init(taking vector: wasm_byte_vec_t, imports: [ModuleImport], exports: [ModuleExport]) {
    self.vector = vector
    self.imports = imports
    self.exports = exports
  }

  deinit {
    var vector = vector
    wasm_byte_vec_delete(&vector)
  }

  /// The compiled module as `Module.deserialize` takes it; valid inside `body`.
  public func withBytes<Result, E: Error>(
    _ body: (UnsafeRawBufferPointer) throws(E) -> Result
  ) throws(E) -> Result {
    try body(UnsafeRawBufferPointer(start: vector.data, count: vector.size))
  }
}

/// Turns untrusted Wasm into native code. It belongs into a process of its own.
public enum ModuleCompiler {
  /// Validates and compiles a module in the binary format.
  ///
  /// - Parameter beforeListing: called before the module's imports and exports are looked at: Wasmtime's C API aborts for a
  ///   type that it has no number for.
  /// - Throws: `WasmtimeError` where the bytes are not a valid module or use a feature that is turned off; the reason
  ///   names the offset, and the key that turns the feature on.
  public static func compile(
    _ wasm: UnsafeRawBufferPointer, engine: Engine, beforeListing: () -> Void = {}
  ) throws(WasmtimeError) -> CompiledCode {
    try serialize(try build(wasm, engine), beforeListing)
  }

  /// As `compile` from memory, for bytes in an array.
  ///
  /// - Throws: as there.
  public static func compile(
    _ wasm: [UInt8], engine: Engine, beforeListing: () -> Void = {}
  ) throws(WasmtimeError) -> CompiledCode {
    let built = wasm.withUnsafeBytes { bytes in
      Result { () throws(WasmtimeError) in try build(bytes, engine) }
    }
    return try serialize(try built.get(), beforeListing)
  }

  private static func build(_ wasm: UnsafeRawBufferPointer, _ engine: Engine) throws(WasmtimeError) -> Module {
    var compiled: OpaquePointer?
    let start = wasm.baseAddress?.assumingMemoryBound(to: UInt8.self)
    let error = wasmtime_module_new(engine.pointer, start, wasm.count, &compiled)
    if let error = WasmtimeError("compile the module", error) { throw error.advised }
    guard let compiled else { throw WasmtimeError(action: "compile the module", reason: "no module came") }
    return Module(taking: compiled, engine: engine)
  }

  private static func serialize(
    _ module: Module, _ beforeListing: () -> Void
  ) throws(WasmtimeError) -> CompiledCode {
    var bytes = wasm_byte_vec_t()
    if let error = WasmtimeError("serialize the compiled module", wasmtime_module_serialize(module.pointer, &bytes)) {
      throw error
    }
    beforeListing()
    return CompiledCode(taking: bytes, imports: module.imports, exports: module.exports)
  }

  /// The binary form of a module in the text format; for tests and tools.
  ///
  /// - Throws: `WasmtimeError` with the line where it is not valid text.
  public static func binary(fromText text: String) throws(WasmtimeError) -> [UInt8] {
    var bytes = wasm_byte_vec_t()
    var copy = text
    let error = copy.withUTF8 { text in
      text.withMemoryRebound(to: CChar.self) { wasmtime_wat2wasm($0.baseAddress, $0.count, &bytes) }
    }
    if let error = WasmtimeError("read the module's text", error) { throw error }
    defer { wasm_byte_vec_delete(&bytes) }
    return [UInt8](UnsafeRawBufferPointer(start: bytes.data, count: bytes.size))
  }
}
