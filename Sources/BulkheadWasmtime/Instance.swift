import CWasmtime

/// A function that the guest exports, its type checked: calling it needs no checks any more.
public struct ExportedFunction {
  var function: wasmtime_func_t
  /// How many i32 parameters it has, at most `Instance.maximumParameters`.
  public let parameters: Int
  /// Whether it gives an i32 back.
  public let hasResult: Bool
}

/// One guest: a store with its bounds, its exports and its memory. Many can be made of one `LinkedModule`, one after the
/// other or beside each other: nothing of one is seen by another.
///
/// One thread. After a `GuestFault` the guest's state is that of the middle of a call: nothing may be called any more,
/// and every call throws the same fault again.
public final class Instance {
  /// The most parameters that a function called through `call` can have.
  public static let maximumParameters = 5

  private let engine: Engine
  private let store: OpaquePointer
  private let context: OpaquePointer
  private var linked: LinkedModule?
  private var instance = wasmtime_instance_t()
  private var guestMemory = wasmtime_memory_t()
  private var hasMemory = false
  private unowned(unsafe) var host: (any HostFunctions)?
  private var depth = 0
  private var pendingExit: Int32?

  /// The bound of the linear memory, in bytes.
  public let memoryLimit: UInt64
  /// Stands for the callback that runs, for `Engine.installInterrupt`.
  public var callbackSequence: UInt64 = 0
  /// What ended the guest, if anything has.
  public private(set) var fault: GuestFault?

  /// An empty store; `instantiate` follows.
  ///
  /// - Throws: `WasmtimeError` where there is no memory for it.
  public init(engine: Engine, memoryLimit: UInt64) throws(WasmtimeError) {
    guard let store = wasmtime_store_new(engine.pointer, nil, nil), let context = wasmtime_store_context(store)
    else { throw WasmtimeError(action: "make a store for the guest", reason: "Wasmtime gave none") }
    self.engine = engine
    self.store = store
    self.context = context
    self.memoryLimit = memoryLimit
    wasmtime_store_limiter(store, Int64(clamping: memoryLimit), 1 << 20, 1, 16, 1)
    wasmtime_context_set_epoch_deadline(context, 1)
  }

  deinit { wasmtime_store_delete(store) }

  /// Links the module's imports and makes the instance, for a module of which there is only one.
  ///
  /// - Parameters:
  ///   - functions: what the host offers; only what the module imports is linked.
  ///   - host: serves them; not retained, it must live as long as this object.
  /// - Throws: `InstantiationError`.
  public func instantiate(
    _ module: Module, functions: [HostFunction], host: any HostFunctions
  ) throws(InstantiationError) {
    try instantiate(try LinkedModule(module, engine: engine, functions: functions), host: host)
  }

  /// Makes the instance. The module's start function, if it has one, runs here.
  ///
  /// - Parameter host: serves the guest's calls; not retained, it must live as long as this object.
  /// - Throws: `InstantiationError`.
  public func instantiate(_ linked: LinkedModule, host: any HostFunctions) throws(InstantiationError) {
    self.host = host
    self.linked = linked
    var trap: OpaquePointer?
    enter()
    let error = wasmtime_instance_pre_instantiate(linked.pre, context, &instance, &trap)
    leave()
    if trap != nil, let fault = conclude(trap: trap, error: nil) { throw .fault(fault) }
    if let error = WasmtimeError("instantiate the module", error) { throw .refused(error) }

    guard var item = export("memory"), Int(item.kind) == BH_EXTERN_MEMORY else {
      throw .refused(WasmtimeError(action: "instantiate the module", reason: "it exports no memory named \"memory\""))
    }
    guestMemory = item.of.memory
    hasMemory = true
    wasmtime_extern_delete(&item)
  }

  private func export(_ name: String) -> wasmtime_extern_t? {
    var item = wasmtime_extern_t()
    return wasmtime_instance_export_get(context, &instance, name, name.utf8.count, &item) ? item : nil
  }

  /// An exported function, to be kept: looking it up takes time.
  ///
  /// - Returns: nil where the guest exports no such function.
  /// - Throws: `InstantiationError.exportType` where it has another type than a callback of that shape may have.
  public func function(
    _ name: String, parameters: Int, hasResult: Bool
  ) throws(InstantiationError) -> ExportedFunction? {
    guard var item = export(name) else { return nil }
    defer { wasmtime_extern_delete(&item) }
    guard Int(item.kind) == BH_EXTERN_FUNC else { return nil }
    var function = item.of.func
    guard let typePointer = wasmtime_func_type(context, &function) else { return nil }
    defer { wasm_functype_delete(typePointer) }
    let wanted = FunctionType(Array(repeating: .i32, count: parameters), hasResult ? [.i32] : [])
    let type = FunctionType(typePointer)
    guard type == wanted, parameters <= Self.maximumParameters else {
      throw .exportType(name: name, has: type, wanted: wanted)
    }
    return ExportedFunction(function: function, parameters: parameters, hasResult: hasResult)
  }

  /// The guest's linear memory as it is now: read it again after anything that may have run the guest. It is empty while
  /// the module is being instantiated.
  @inline(__always)
  public var memory: UnsafeMutableRawBufferPointer {
    guard hasMemory else { return UnsafeMutableRawBufferPointer(start: nil, count: 0) }
    return UnsafeMutableRawBufferPointer(
      start: wasmtime_memory_data(context, &guestMemory), count: wasmtime_memory_data_size(context, &guestMemory))
  }

  /// Calls the guest. Arguments that the function does not have are ignored.
  ///
  /// - Returns: its result, 0 where it has none.
  /// - Throws: `GuestFault` where the guest's run is over.
  public func call(
    _ exported: ExportedFunction, _ a: UInt32 = 0, _ b: UInt32 = 0, _ c: UInt32 = 0, _ d: UInt32 = 0,
    _ e: UInt32 = 0
  ) throws(GuestFault) -> UInt32 {
    if let fault { throw fault }
    var values = (
      wasmtime_val_raw_t(), wasmtime_val_raw_t(), wasmtime_val_raw_t(), wasmtime_val_raw_t(), wasmtime_val_raw_t()
    )
    values.0.i32 = Int32(bitPattern: a)
    values.1.i32 = Int32(bitPattern: b)
    values.2.i32 = Int32(bitPattern: c)
    values.3.i32 = Int32(bitPattern: d)
    values.4.i32 = Int32(bitPattern: e)
    var function = exported.function
    var trap: OpaquePointer?
    var error: OpaquePointer?
    var result: UInt32 = 0
    let count = max(exported.parameters, exported.hasResult ? 1 : 0)
    enter()
    withUnsafeMutableBytes(of: &values) { bytes in
      let slots = bytes.baseAddress?.assumingMemoryBound(to: wasmtime_val_raw_t.self)
      error = wasmtime_func_call_unchecked(context, &function, slots, count, &trap)
      if exported.hasResult, let slots { result = UInt32(bitPattern: slots.pointee.i32) }
    }
    leave()
    if trap != nil || error != nil, let fault = conclude(trap: trap, error: error) { throw fault }
    return result
  }

  @inline(__always)
  private func enter() {
    depth &+= 1
    guard depth == 1 else { return }
    linked?.running.instance = self
    wasmtime_context_set_epoch_deadline(context, 1)
    bh_interrupt_begin(UInt32(truncatingIfNeeded: callbackSequence))
  }

  @inline(__always)
  private func leave() {
    depth &-= 1
    if depth == 0 { bh_interrupt_end() }
  }

  /// Takes over what ended the call; the first cause stays.
  private func conclude(trap: OpaquePointer?, error: OpaquePointer?) -> GuestFault? {
    guard var found = GuestFault(trap: trap, error: error) else { return nil }
    if let fault { return fault }
    if let code = pendingExit {
      found.kind = .exit(code)
      found.message = "the plugin ended itself with proc_exit(\(code))"
    }
    fault = found
    return found
  }

  /// Serves one call of the guest.
  @inline(__always)
  func serve(_ number: UInt32, _ values: UnsafeMutableRawPointer) -> OpaquePointer? {
    guard let host else { return Self.trap("the host is gone") }
    switch host.call(number, values: values) {
    case .returned: return nil
    case .exit(let code):
      pendingExit = code
      return Self.trap("proc_exit")
    case .stop(let why): return Self.trap(why)
    }
  }

  @inline(never)
  private static func trap(_ why: StaticString) -> OpaquePointer? {
    why.withUTF8Buffer { text in
      text.withMemoryRebound(to: CChar.self) { wasmtime_trap_new($0.baseAddress, $0.count) }
    }
  }
}

/// Why a module did not become an instance.
public enum InstantiationError: Error, CustomStringConvertible {
  /// Imports that the host does not have, by name.
  case unknownImports([String])
  /// An export with the name of a callback has another type.
  case exportType(name: String, has: FunctionType, wanted: FunctionType)
  /// Wasmtime refused: a limit, an invalid module.
  case refused(WasmtimeError)
  /// The module's start function ended badly.
  case fault(GuestFault)

  public var description: String {
    switch self {
    case .unknownImports(let names):
      "the module imports what this host does not have: \(names.joined(separator: ", "))"
    case .exportType(let name, let has, let wanted):
      "the module exports \(name) as \(has); the ABI has it as \(wanted)"
    case .refused(let error): error.description
    case .fault(let fault): "the module's start function failed: \(fault)"
    }
  }
}
