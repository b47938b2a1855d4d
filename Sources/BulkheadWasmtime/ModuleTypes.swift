import CWasmtime

/// What kind of thing a module imports or exports.
public enum ExternKind: Sendable, Equatable {
  /// What the ABI has a use for.
  case function
  case global
  case table
  case memory
  /// Something that the ABI has no use for.
  case other

  init(_ kind: UInt8) {
    switch Int(kind) {
    case BH_EXTERN_FUNC: self = .function
    case BH_EXTERN_GLOBAL: self = .global
    case BH_EXTERN_TABLE: self = .table
    case BH_EXTERN_MEMORY: self = .memory
    default: self = .other
    }
  }

  /// The kind's name for people.
  public var name: String {
    switch self {
    case .function: "function"
    case .global: "global"
    case .table: "table"
    case .memory: "memory"
    case .other: "other"
    }
  }
}

/// The type of one parameter or result.
public enum ValueKind: Sendable, Equatable, CaseIterable {
  /// Numbers, by their names in WebAssembly.
  case i32, i64, f32, f64
  /// A vector or a reference: no function of the ABI has one.
  case other

  init(_ kind: UInt8) {
    switch Int(kind) {
    case BH_VALUE_I32: self = .i32
    case BH_VALUE_I64: self = .i64
    case BH_VALUE_F32: self = .f32
    case BH_VALUE_F64: self = .f64
    default: self = .other
    }
  }

  var number: UInt8? {
    switch self {
    case .i32: UInt8(BH_VALUE_I32)
    case .i64: UInt8(BH_VALUE_I64)
    case .f32: UInt8(BH_VALUE_F32)
    case .f64: UInt8(BH_VALUE_F64)
    case .other: nil
    }
  }

  var name: String {
    switch self {
    case .i32: "i32"
    case .i64: "i64"
    case .f32: "f32"
    case .f64: "f64"
    case .other: "?"
    }
  }
}

/// A function's parameters and results.
public struct FunctionType: Sendable, Equatable, CustomStringConvertible {
  /// In their order.
  public var parameters: [ValueKind]
  /// In their order; the ABI knows at most one.
  public var results: [ValueKind]

  /// The ABI has functions of numbers alone, with one result at most; others link nowhere.
  public init(_ parameters: [ValueKind], _ results: [ValueKind]) {
    self.parameters = parameters
    self.results = results
  }

  /// Reads a type object; does not take it over.
  init(_ type: OpaquePointer) {
    parameters = Self.kinds(wasm_functype_params(type))
    results = Self.kinds(wasm_functype_results(type))
  }

  private static func kinds(_ vector: UnsafePointer<wasm_valtype_vec_t>?) -> [ValueKind] {
    guard let vector, let data = vector.pointee.data else { return [] }
    return (0..<vector.pointee.size).map { index in
      guard let type = data[index] else { return .other }
      return ValueKind(wasm_valtype_kind(type))
    }
  }

  /// A new type object that the caller deletes; nil where a kind has no number.
  func makeType() -> OpaquePointer? {
    guard var parameters = Self.makeVector(parameters), var results = Self.makeVector(results) else { return nil }
    return wasm_functype_new(&parameters, &results)
  }

  private static func makeVector(_ kinds: [ValueKind]) -> wasm_valtype_vec_t? {
    var types: [OpaquePointer?] = []
    for kind in kinds {
      guard let number = kind.number else { return nil }
      types.append(wasm_valtype_new(number))
    }
    var vector = wasm_valtype_vec_t()
    wasm_valtype_vec_new(&vector, types.count, types)
    return vector
  }

  public var description: String {
    "(\(parameters.map(\.name).joined(separator: ", "))) -> (\(results.map(\.name).joined(separator: ", ")))"
  }
}

/// Something that a module wants from the host.
public struct ModuleImport: Sendable, Equatable {
  /// The name of the module that it wants it from.
  public var module: String
  /// What it is called there.
  public var name: String
  /// What kind of thing it is.
  public var kind: ExternKind
  /// The type, where it is a function.
  public var type: FunctionType?
}

/// A linear memory.
public struct MemoryType: Sendable, Equatable {
  /// What it has from the beginning, in bytes.
  public var minimumBytes: UInt64
  /// Threads share it.
  public var isShared: Bool

  /// Reads a type object; does not take it over.
  init(_ type: OpaquePointer) {
    let (bytes, overflow) = wasmtime_memorytype_minimum(type).multipliedReportingOverflow(
      by: wasmtime_memorytype_page_size(type))
    minimumBytes = overflow ? .max : bytes
    isShared = wasmtime_memorytype_isshared(type)
  }
}

/// Something that a module gives to the host.
public struct ModuleExport: Sendable, Equatable {
  /// What it is called.
  public var name: String
  /// What kind of thing it is.
  public var kind: ExternKind
  /// The type, where it is a function.
  public var type: FunctionType?
  /// The type, where it is a memory.
  public var memory: MemoryType?
}
