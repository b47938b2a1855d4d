import CWasmtime

/// How a host function ended.
public enum HostOutcome: Sendable {
  /// The results are written; the guest goes on.
  case returned
  /// The guest asked to end with this code: its run is over.
  case exit(Int32)
  /// The host ended the guest's run; the text says why. Where a nested call into the guest has failed, that call's fault
  /// stays the cause.
  case stop(StaticString)
}

/// What the guest can call. The numbers are those of `HostFunction`.
public protocol HostFunctions: AnyObject {
  /// Runs a host function.
  ///
  /// - Parameters:
  ///   - values: the arguments, 16 bytes each, little-endian in the first bytes; results are written over them from the
  ///     start. As many as the larger of the two counts of the function's type.
  func call(_ number: UInt32, values: UnsafeMutableRawPointer) -> HostOutcome
}

/// A function that the host offers to guests.
public struct HostFunction: Sendable {
  /// The name of the import module, for example `env`.
  public var module: String
  /// The name of the import.
  public var name: String
  /// A module that imports it with another type is refused.
  public var type: FunctionType
  /// What `HostFunctions.call` is given.
  public var number: UInt32

  /// Two functions may share a number; two of one module, name and type may not.
  public init(module: String, name: String, type: FunctionType, number: UInt32) {
    self.module = module
    self.name = name
    self.type = type
    self.number = number
  }
}

/// What Wasmtime hands back to the trampoline: one for each function that was linked, owned by the linker.
final class HostBinding {
  /// Set while the code of any instance runs: only that calls.
  let running: RunningInstance
  let number: UInt32

  init(running: RunningInstance, number: UInt32) {
    self.running = running
    self.number = number
  }

  /// Called by the guest's code for every host function.
  static let trampoline: wasmtime_func_unchecked_callback_t = { data, caller, values, _ in
    guard let data, let values else { return nil }
    return Unmanaged<HostBinding>.fromOpaque(data)._withUnsafeGuaranteedRef { binding in
      binding.running.instance?.serve(binding.number, UnsafeMutableRawPointer(values))
    }
  }

  static let release: @convention(c) (UnsafeMutableRawPointer?) -> Void = { data in
    if let data { Unmanaged<HostBinding>.fromOpaque(data).release() }
  }
}
