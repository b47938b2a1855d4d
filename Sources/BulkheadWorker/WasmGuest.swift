import BulkheadProxyWasm
import BulkheadWasmtime
import ProxyWasmABI

/// A Wasmtime instance as the plugin host sees it: exports by number, memory as it is. One thread.
final class WasmGuest: Guest {
  let instance: Instance
  private var exported: [ExportedFunction?] = Array(repeating: nil, count: GuestExport.allCases.count)

  init(instance: Instance) { self.instance = instance }

  /// Looks the exports up, once, after instantiation.
  ///
  /// - Parameter abi: what the module was built for.
  /// - Throws: `InstantiationError.exportType` where one has another type than the ABI gives it.
  func resolve(_ abi: ABIVersion = .version021) throws(InstantiationError) {
    for export in GuestExport.allCases {
      exported[export.rawValue] =
        try instance.function(export.name, parameters: export.parameters(in: abi), hasResult: export.hasResult)
    }
  }

  var memory: GuestMemory { GuestMemory(instance.memory) }

  func exports(_ export: GuestExport) -> Bool { exported[export.rawValue] != nil }

  func call(
    _ export: GuestExport, _ a: UInt32, _ b: UInt32, _ c: UInt32, _ d: UInt32, _ e: UInt32
  ) throws(GuestStopped) -> UInt32 {
    guard let function = exported[export.rawValue] else { return 0 }
    do throws(GuestFault) {
      return try instance.call(function, a, b, c, d, e)
    } catch {
      // The instance keeps the fault.
      throw GuestStopped()
    }
  }
}

/// Hands the guest's calls to the plugin host.
final class HostBridge: HostFunctions {
  private let host: PluginHost

  init(host: PluginHost) { self.host = host }

  func call(_ number: UInt32, values: UnsafeMutableRawPointer) -> HostOutcome {
    switch host.hostcall(number, values) {
    case .returned: .returned
    case .exit(let code): .exit(code)
    case .stopped: .stop("a call back into the guest failed")
    }
  }

  /// All that a plugin can import.
  static var functions: [HostFunction] {
    HostImport.all.map { entry in
      let signature = entry.function.signature
      let type = FunctionType(signature.parameters.map(ValueKind.init), signature.results.map(ValueKind.init))
      return HostFunction(module: entry.module, name: entry.name, type: type, number: entry.function.number)
    }
  }
}

extension ValueKind {
  fileprivate init(_ value: ABIValue) {
    switch value {
    case .i32: self = .i32
    case .i64: self = .i64
    case .f64: self = .f64
    }
  }
}
