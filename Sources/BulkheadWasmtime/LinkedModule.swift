import CWasmtime

/// A module with its imports bound to the host's functions: what an instance is made of in some microseconds.
///
/// One thread. It outlives the instances that are made of it.
public final class LinkedModule {
  private let module: Module
  private let linker: OpaquePointer
  let pre: OpaquePointer
  /// Whose code calls the host's functions.
  let running = RunningInstance()

  /// Binds the module's imports.
  ///
  /// - Parameter functions: what the host offers; only what the module imports is linked.
  /// - Throws: `InstantiationError.unknownImports` or `.refused`.
  public init(_ module: Module, engine: Engine, functions: [HostFunction]) throws(InstantiationError) {
    guard let linker = wasmtime_linker_new(engine.pointer) else {
      throw .refused(WasmtimeError(action: "link the module", reason: "Wasmtime gave no linker"))
    }
    self.module = module
    self.linker = linker
    do throws(InstantiationError) {
      try Self.link(module.imports, functions, linker, running)
      var pre: OpaquePointer?
      let linkError = wasmtime_linker_instantiate_pre(linker, module.pointer, &pre)
      if let error = WasmtimeError("link the module", linkError) { throw .refused(error) }
      guard let pre else { throw .refused(WasmtimeError(action: "link the module", reason: "nothing came")) }
      self.pre = pre
    } catch {
      wasmtime_linker_delete(linker)
      throw error
    }
  }

  deinit {
    wasmtime_instance_pre_delete(pre)
    wasmtime_linker_delete(linker)
  }

  private static func link(
    _ imports: [ModuleImport], _ functions: [HostFunction], _ linker: OpaquePointer, _ running: RunningInstance
  ) throws(InstantiationError) {
    // A name may be offered under more than one type.
    var offered: [String: [HostFunction]] = [:]
    for function in functions { offered["\(function.module).\(function.name)", default: []].append(function) }
    var linked: Set<String> = []
    var missing: [String] = []
    for wanted in imports {
      let name = "\(wanted.module).\(wanted.name)"
      guard wanted.kind == .function, let first = offered[name]?.first else {
        missing.append(wanted.kind == .function ? name : "\(name) (a \(wanted.kind.name))")
        continue
      }
      guard let function = wanted.type.map({ type in offered[name]?.first { $0.type == type } }) ?? first else {
        missing.append("\(name) as \(wanted.type.map { "\($0)" } ?? "?") (the host's is \(first.type))")
        continue
      }
      guard linked.insert(name).inserted else { continue }
      try define(function, linker, running)
    }
    if !missing.isEmpty { throw .unknownImports(missing) }
  }

  private static func define(
    _ function: HostFunction, _ linker: OpaquePointer, _ running: RunningInstance
  ) throws(InstantiationError) {
    guard let type = function.type.makeType() else {
      throw .refused(WasmtimeError(action: "link \(function.name)", reason: "its type cannot be expressed"))
    }
    defer { wasm_functype_delete(type) }
    let binding = Unmanaged.passRetained(HostBinding(running: running, number: function.number))
    let error = wasmtime_linker_define_func_unchecked(
      linker, function.module, function.module.utf8.count, function.name, function.name.utf8.count, type,
      HostBinding.trampoline, binding.toOpaque(), HostBinding.release)
    if let error = WasmtimeError("link \(function.name)", error) { throw .refused(error) }
  }
}

/// Which of the instances of one `LinkedModule` has its code on the stack. One thread.
final class RunningInstance {
  unowned(unsafe) var instance: Instance?
}
