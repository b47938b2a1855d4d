import BulkheadCore
import BulkheadSandbox
import BulkheadSystem
import BulkheadWasmtime
import BulkheadWire
import ProxyWasmABI

/// The whole life of `bulkhead-compiler`: confine itself, read one untrusted module, write it compiled, say what it is.
///
/// It reads its bootstrap and module from descriptors, writes to descriptors and has nothing else; see
/// `ChildDescriptor.Compiler`.
public enum CompilerProcess {
  /// Runs to the end.
  ///
  /// - Returns: the exit code: 0 where `compiled` was reported, 65 where `refused` was, 69 where it could not confine
  ///   itself, 70 where something of ours broke. The reason is on the report pipe, or where that is broken on
  ///   standard error.
  public static func run() -> Int32 {
    let bootstrap: CompilerBootstrap
    switch readBootstrap() {
    case .success(let read): bootstrap = read
    case .failure(let problem): return fail(problem.text, ExitCode.software)
    }

    LastWords.install(memory: ByteCount(bytes: bootstrap.memory))
    var limits = CompilerSandbox.Configuration()
    limits.memory = bootstrap.memory
    limits.cpuSeconds = bootstrap.cpuSeconds
    limits.outputSize = bootstrap.maximumOutput
    let layers = CompilerSandbox.enter(
      limits, keeping: ChildDescriptor.Compiler.output, seccomp: bootstrap.seccompProgram)
    for layer in layers where !layer.holds {
      guard layer.layer != .seccomp else {
        return fail("the compiler does not run without its seccomp filter: \(layer.why)", ExitCode.unavailable)
      }
      report(
        .log(level: .warn, request: "", message: "the compiler runs without \(layer.layer.rawValue): \(layer.why)"))
    }

    do throws(Problem) {
      let wasm = try readModule(atMost: Int(clamping: bootstrap.maximumInput))
      let module = try compile(wasm, bootstrap)
      return report(.compiled(module)) ? ExitCode.ok : ExitCode.software
    } catch {
      guard error.isTheModules else { return fail(error.text, ExitCode.software) }
      report(.refused(detail: error.text))
      return ExitCode.dataError
    }
  }

  /// Why there is no compiled module.
  private struct Problem: Error {
    /// Whether the module is to blame; else something of ours broke, and another try may help.
    var isTheModules: Bool
    var text: String

    static func module(_ text: String) -> Problem { Problem(isTheModules: true, text: text) }
    static func ours(_ text: String) -> Problem { Problem(isTheModules: false, text: text) }
  }

  private static func readBootstrap() -> Result<CompilerBootstrap, Problem> {
    do {
      let bytes = try RawDescriptor.readFile(ChildDescriptor.bootstrap, atMost: Limits.maximumControlMessage)
      return .success(try bytes.withUnsafeBytes { try CompilerBootstrap($0) })
    } catch {
      return .failure(.ours("the compiler's bootstrap cannot be read: \(error)"))
    }
  }

  /// Reads the whole module without asking for its size: the filter allows no more than reads.
  private static func readModule(atMost limit: Int) throws(Problem) -> [UInt8] {
    do throws(SystemError) {
      if let bytes = try RawDescriptor.readAll(ChildDescriptor.Compiler.input, atMost: limit) { return bytes }
    } catch {
      throw .ours("\(error)")
    }
    throw .module("the module is larger than \(ByteCount(bytes: UInt64(clamping: limit))), the most that is compiled")
  }

  private static func compile(
    _ wasm: [UInt8], _ bootstrap: CompilerBootstrap
  ) throws(Problem) -> ReportFrame.CompiledModule {
    let engine: Engine
    do throws(WasmtimeError) {
      engine = try Engine(EngineSettings(parallelCompilation: bootstrap.parallel, features: bootstrap.features))
    } catch {
      throw .ours("\(error)")
    }
    let code: CompiledCode
    do throws(WasmtimeError) {
      code = try ModuleCompiler.compile(wasm, engine: engine, beforeListing: LastWords.moduleIsListed)
    } catch {
      throw .module("\(error)")
    }

    let exports = code.exports.map(\.name)
    let abi: ABIVersion
    do throws(ABIError) {
      // A marker is a function: a global of that name promises nothing.
      abi = try ABIVersion.detect(exports: code.exports.filter { $0.kind == .function }.map(\.name))
    } catch {
      throw .module("\(error)")
    }
    let imports = code.imports.map { "\($0.module).\($0.name)" }
    let unknown = HostImport.unknown(among: imports)
    guard unknown.isEmpty else {
      throw .module(
        "the module imports \(unknown.prefix(8).joined(separator: ", "))"
          + (unknown.count > 8 ? " and \(unknown.count - 8) more" : "")
          + ", which no version of Proxy-Wasm or WASI that is known here has: was it built for another host?")
    }
    guard let memory = code.exports.first(where: { $0.name == "memory" })?.memory else {
      throw .module("the module exports no memory named 'memory', in which it would be given what it asks for")
    }
    guard !memory.isShared else {
      throw .module(
        "the module's memory is shared between threads, which no worker has: build it without threads (-pthread, atomics)"
      )
    }
    let module = ReportFrame.CompiledModule(
      abi: abi.rawValue, exports: exports, imports: imports, minimumMemory: memory.minimumBytes)
    guard ReportFrame.compiled(module).encoded().count <= Limits.maximumCompilerFrame else {
      throw .module("the module has too many exports and imports to be listed")
    }

    try write(code, atMost: bootstrap.maximumOutput)
    return module
  }

  private static func write(_ code: borrowing CompiledCode, atMost limit: UInt64) throws(Problem) {
    try code.withBytes { (bytes) throws(Problem) in
      guard UInt64(bytes.count) <= limit else {
        throw .module(
          "the compiled module has \(ByteCount(bytes: UInt64(bytes.count))), more than \(ByteCount(bytes: limit))")
      }
      do throws(SystemError) {
        try RawDescriptor.writeAll(ChildDescriptor.Compiler.output, bytes)
      } catch {
        throw .ours("\(error)")
      }
    }
  }

  @discardableResult
  private static func report(_ frame: ReportFrame) -> Bool {
    frame.encoded().withUnsafeBytes { (try? RawDescriptor.writeAll(ChildDescriptor.report, $0)) != nil }
  }

  /// Says why on the report pipe, or on standard error where that fails.
  private static func fail(_ text: String, _ code: Int32) -> Int32 {
    if !report(.log(level: .error, request: "", message: text)) {
      Array("\(text)\n".utf8).withUnsafeBytes { _ = try? RawDescriptor.writeAll(ChildDescriptor.standardError, $0) }
    }
    return code
  }
}
