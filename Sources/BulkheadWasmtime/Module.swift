import CWasmtime

/// A compiled module, ready to be instantiated.
public final class Module {
  let pointer: OpaquePointer
  /// The engine must outlive what was made with it.
  private let engine: Engine

  init(taking pointer: OpaquePointer, engine: Engine) {
    self.pointer = pointer
    self.engine = engine
  }

  deinit { wasmtime_module_delete(pointer) }

  /// Maps a compiled module from a file. It is native code that nothing checks again: only give it what our own compiler
  /// wrote.
  ///
  /// - Parameter path: also `/proc/self/fd/N`.
  /// - Throws: `WasmtimeError` where the file cannot be mapped executable, or was compiled by another version or with
  ///   other settings.
  public static func deserialize(path: String, engine: Engine) throws(WasmtimeError) -> Module {
    var module: OpaquePointer?
    let error = wasmtime_module_deserialize_file(engine.pointer, path, &module)
    if let error = WasmtimeError("load the compiled module \(path)", error) { throw error }
    guard let module else { throw WasmtimeError(action: "load the compiled module \(path)", reason: "no module came") }
    return Module(taking: module, engine: engine)
  }

  /// Loads a compiled module from memory, which is copied.
  ///
  /// - Throws: as `deserialize(path:engine:)`.
  public static func deserialize(_ bytes: UnsafeRawBufferPointer, engine: Engine) throws(WasmtimeError) -> Module {
    var module: OpaquePointer?
    let start = bytes.baseAddress?.assumingMemoryBound(to: UInt8.self)
    let error = wasmtime_module_deserialize(engine.pointer, start, bytes.count, &module)
    if let error = WasmtimeError("load a compiled module", error) { throw error }
    guard let module else { throw WasmtimeError(action: "load a compiled module", reason: "no module came") }
    return Module(taking: module, engine: engine)
  }

  /// What the module imports, in its order.
  public var imports: [ModuleImport] {
    var vector = wasm_importtype_vec_t()
    wasmtime_module_imports(pointer, &vector)
    defer { wasm_importtype_vec_delete(&vector) }
    guard let data = vector.data else { return [] }
    return (0..<vector.size).compactMap { index in
      guard let entry = data[index] else { return nil }
      let (kind, type) = Self.describe(wasm_importtype_type(entry))
      return ModuleImport(
        module: String(wasm_importtype_module(entry)), name: String(wasm_importtype_name(entry)), kind: kind, type: type
      )
    }
  }

  /// What the module exports, in its order.
  public var exports: [ModuleExport] {
    var vector = wasm_exporttype_vec_t()
    wasmtime_module_exports(pointer, &vector)
    defer { wasm_exporttype_vec_delete(&vector) }
    guard let data = vector.data else { return [] }
    return (0..<vector.size).compactMap { index in
      guard let entry = data[index] else { return nil }
      let extern = wasm_exporttype_type(entry)
      let (kind, type) = Self.describe(extern)
      let memory = kind == .memory ? wasm_externtype_as_memorytype_const(extern).map { MemoryType($0) } : nil
      return ModuleExport(name: String(wasm_exporttype_name(entry)), kind: kind, type: type, memory: memory)
    }
  }

  private static func describe(_ type: OpaquePointer?) -> (ExternKind, FunctionType?) {
    guard let type else { return (.other, nil) }
    let kind = ExternKind(wasm_externtype_kind(type))
    guard kind == .function, let function = wasm_externtype_as_functype_const(type) else { return (kind, nil) }
    return (kind, FunctionType(function))
  }
}
