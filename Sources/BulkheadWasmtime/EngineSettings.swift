import BulkheadCore
import CWasmtime

/// The one place that configures Wasmtime, so that what the compiler wrote is what the worker can load.
public struct EngineSettings: Sendable, Equatable {
  /// Compile on all CPUs; starts threads. It changes how fast a module is compiled, not what comes out.
  public var parallelCompilation: Bool

  /// What modules may use beside the usual proposals: bulk memory, several values, reference types, SIMD, sign extension,
  /// saturating conversions and mutable globals are always on.
  public var features: [WasmFeature]

  /// One thread, and no proposals beside the usual ones, unless it is said.
  public init(parallelCompilation: Bool = false, features: [WasmFeature] = []) {
    self.parallelCompilation = parallelCompilation
    self.features = features
  }

  /// The release of Wasmtime that is linked.
  public static let engineVersion = BH_WASMTIME_VERSION

  /// The most native stack that a guest may use, in bytes, its hostcalls included.
  static let guestStackBytes = 512 << 10

  /// Stands for everything that decides whether a compiled module can be loaded: the engine's version, the settings and
  /// the instruction set. It is part of a compiled module's name in the cache; safe in a file name.
  public var cacheKey: String {
    #if arch(x86_64)
      let architecture = "x86_64"
    #elseif arch(arm64)
      let architecture = "aarch64"
    #else
      let architecture = "other"
    #endif
    return "wasmtime-\(Self.engineVersion)-\(architecture)-epoch-stack\(Self.guestStackBytes >> 10)k-mem32-copied-v3"
      + WasmFeature.keySuffix(of: features)
  }

  /// A new configuration object; the engine takes it over.
  func makeConfiguration() -> OpaquePointer? {
    guard let configuration = wasm_config_new() else { return nil }
    wasmtime_config_epoch_interruption_set(configuration, true)
    wasmtime_config_parallel_compilation_set(configuration, parallelCompilation)
    wasmtime_config_max_wasm_stack_set(configuration, Self.guestStackBytes)
    // A wait on shared memory could not be interrupted; the ABI's pointers are 32 bits; it knows one memory.
    wasmtime_config_shared_memory_set(configuration, false)
    wasmtime_config_wasm_memory64_set(configuration, false)
    wasmtime_config_wasm_multi_memory_set(configuration, false)
    // A worker instantiates under its last filter, which knows neither files nor mappings of them: data is copied.
    wasmtime_config_memory_init_cow_set(configuration, false)
    func has(_ wanted: WasmFeature...) -> Bool { wanted.contains { features.contains($0) } }
    wasmtime_config_wasm_tail_call_set(configuration, has(.tailCalls))
    wasmtime_config_wasm_exceptions_set(configuration, has(.exceptions))
    wasmtime_config_wasm_function_references_set(configuration, has(.functionReferences, .gc))
    wasmtime_config_wasm_gc_set(configuration, has(.gc))
    wasmtime_config_wasm_relaxed_simd_set(configuration, has(.relaxedSimd))
    wasmtime_config_wasm_wide_arithmetic_set(configuration, has(.wideArithmetic))
    wasmtime_config_wasm_custom_page_sizes_set(configuration, has(.customPageSizes))
    wasmtime_config_wasm_stack_switching_set(configuration, false)
    return configuration
  }
}
