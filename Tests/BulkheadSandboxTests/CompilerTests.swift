import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Foundation
import Glibc
import Testing

/// The real `bulkhead-compiler`, started as the supervisor starts it, under its shipped profile.
@Suite struct CompilerTests {
  @Test(arguments: [true, false]) func aPluginIsCompiledAndDescribed(_ parallel: Bool) throws {
    let module = WasmModule(exports: ["proxy_abi_version_0_2_1", "proxy_on_request_headers"], functions: 200)
    let outcome = try Compiler.run(module.bytes) { $0.parallel = parallel }
    #expect(outcome.status == .exited(code: ExitCode.ok), "\(outcome)")
    #expect(
      outcome.frames == [
        .compiled(
          .init(
            abi: "proxy_abi_version_0_2_1", exports: ["memory", "proxy_abi_version_0_2_1", "proxy_on_request_headers"],
            imports: ["env.proxy_log"], minimumMemory: 64 << 10))
      ])
    // An ELF image, as Wasmtime writes it.
    #expect(outcome.output.starts(with: [0x7f, 0x45, 0x4c, 0x46]))
  }

  @Test(arguments: [
    (["malloc"], "the module exports no proxy_abi_version_*: it is not a Proxy-Wasm plugin"),
    (["proxy_abi_version_0_3_0"], "the module is built for proxy_abi_version_0_3_0; Bulkhead runs"),
    (["proxy_abi_version_9_9_9"], "the module is built for proxy_abi_version_9_9_9; Bulkhead runs"),
  ])
  func aModuleForAnotherHostIsRefusedByWhatItExports(_ exports: [String], _ reason: String) throws {
    let outcome = try Compiler.run(WasmModule(exports: exports).bytes)
    #expect(outcome.status == .exited(code: ExitCode.dataError))
    #expect(outcome.refusal?.hasPrefix(reason) == true, "\(outcome)")
    #expect(outcome.output.isEmpty)
  }

  @Test(arguments: [
    [], [0], Array("#!/bin/sh\n".utf8), [0, 0x61, 0x73, 0x6d, 2, 0, 0, 0],
    Array(WasmModule(exports: ["proxy_abi_version_0_2_1"]).bytes.dropLast(3)),
  ])
  func bytesThatAreNoModuleAreRefused(_ bytes: [UInt8]) throws {
    let outcome = try Compiler.run(bytes)
    #expect(outcome.status == .exited(code: ExitCode.dataError))
    #expect(outcome.refusal?.hasPrefix("cannot compile the module: ") == true, "\(outcome)")
  }

  @Test func anExportOfATypeThatProxyWasmDoesNotHaveIsRefusedAsSuch() throws {
    var module: [UInt8] = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]
    // One type, (v128) -> (), and a function of it.
    module += [1, 5, 1, 0x60, 1, 0x7b, 0] + [3, 2, 1, 0]
    module += [7, 27, 1, 23] + Array("proxy_abi_version_0_2_1".utf8) + [0, 0]
    module += [10, 4, 1, 2, 0, 0x0b]
    let outcome = try Compiler.run(module)
    #expect(outcome.status == .exited(code: ExitCode.dataError))
    #expect(outcome.refusal?.contains("a function with a vector (v128)") == true, "\(outcome)")
    #expect(outcome.output.isEmpty)
  }

  @Test func aFeatureThatIsOffIsRefusedWithTheKeyThatTurnsItOn() throws {
    var module: [UInt8] = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]
    // A function that is a tail call of itself.
    module += [1, 4, 1, 0x60, 0, 0] + [3, 2, 1, 0] + [5, 3, 1, 0, 1]
    module += [7, 36, 2, 23] + Array("proxy_abi_version_0_2_1".utf8) + [0, 0] + [6] + Array("memory".utf8) + [2, 0]
    module += [10, 6, 1, 4, 0, 0x12, 0, 0x0b]
    let refused = try Compiler.run(module)
    #expect(refused.refusal?.contains("'wasmFeatures: [tailCalls]' in the plugin's policy") == true, "\(refused)")
    let compiled = try Compiler.run(module) { $0.features = [.tailCalls] }
    #expect(compiled.status == .exited(code: ExitCode.ok), "\(compiled)")
  }

  @Test(arguments: [
    ([] as [UInt8], "the module exports no memory named 'memory'"),
    // Shared, from one page to one.
    ([5, 4, 1, 3, 1, 1], "the module's memory is shared between threads"),
  ])
  func aMemoryThatCannotWorkIsRefused(_ section: [UInt8], _ reason: String) throws {
    let exports = section.isEmpty ? [] : [6] + Array("memory".utf8) + [2, 0]
    var module: [UInt8] = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]
    module += [1, 4, 1, 0x60, 0, 0] + [3, 2, 1, 0] + section
    module +=
      [7, UInt8(27 + exports.count), section.isEmpty ? 1 : 2, 23] + Array("proxy_abi_version_0_2_1".utf8) + [0, 0]
    module += exports + [10, 4, 1, 2, 0, 0x0b]
    let outcome = try Compiler.run(module)
    #expect(outcome.status == .exited(code: ExitCode.dataError))
    #expect(outcome.refusal?.hasPrefix(reason) == true, "\(outcome)")
  }

  @Test func aModuleOverTheBoundIsRefused() throws {
    let outcome = try Compiler.run(WasmModule(exports: ["proxy_abi_version_0_2_1"]).bytes) { $0.maximumInput = 16 }
    #expect(outcome.refusal == "the module is larger than 16 B, the most that is compiled")
  }

  @Test func anOutputOverTheBoundIsRefused() throws {
    let outcome = try Compiler.run(WasmModule(exports: ["proxy_abi_version_0_2_1"]).bytes) { $0.maximumOutput = 512 }
    #expect(outcome.refusal?.hasSuffix("more than 512 B") == true, "\(outcome)")
  }

  @Test(arguments: [6, 8, 12, 16, 24] as [UInt64]) func aModuleThatTakesTooMuchMemoryIsRefused(_ mebibytes: UInt64)
    throws
  {
    let module = WasmModule(exports: ["proxy_abi_version_0_2_1"], functions: 20_000)
    let outcome = try Compiler.run(module.bytes) { $0.memory = mebibytes << 20 }
    #expect(outcome.status == .exited(code: ExitCode.dataError), "\(outcome.status) \(outcome.errors)")
    #expect(outcome.refusal != nil, "\(outcome.frames)")
    #expect(outcome.output.isEmpty)
  }

  @Test func aCompilerWithoutItsFilterDoesNotRun() throws {
    let outcome = try Compiler.run(WasmModule(exports: ["proxy_abi_version_0_2_1"]).bytes) { $0.seccompProgram = [] }
    #expect(outcome.status == .exited(code: ExitCode.unavailable))
    guard case .log(.error, _, let message) = outcome.frames.last else {
      Issue.record("\(outcome)")
      return
    }
    #expect(message.hasPrefix("the compiler does not run without its seccomp filter"))
    #expect(outcome.output.isEmpty)
  }

  @Test func aBrokenBootstrapIsAnErrorOfOurs() throws {
    let outcome = try Compiler.run([], bootstrap: [1, 2, 3])
    #expect(outcome.status == .exited(code: ExitCode.software))
  }
}

/// Starts the compiler and collects all that it says.
enum Compiler {
  struct Outcome {
    var status: BulkheadSystem.ExitStatus
    var frames: [ReportFrame]
    var output: [UInt8]
    var errors: String

    var refusal: String? {
      guard case .refused(let detail) = frames.last, frames.count == 1 else { return nil }
      return detail
    }
  }

  private static let program = Result { try Probe.program("compiler.json") }

  static func run(
    _ module: [UInt8], bootstrap raw: [UInt8]? = nil, _ adjust: (inout CompilerBootstrap) -> Void = { _ in }
  ) throws -> Outcome {
    var bootstrap = CompilerBootstrap(seccompProgram: try program.get())
    adjust(&bootstrap)
    let null = try Descriptor.open("/dev/null", .readWrite)
    let errors = try BulkheadSystem.Pipe()
    let report = try BulkheadSystem.Pipe()
    let settings = try Memfd.message(name: "bootstrap", raw ?? bootstrap.encoded())
    let input = try Memfd.message(name: "module", module)
    let output = try Memfd.scratch(name: "compiled")
    var request = SpawnRequest(
      executable: Probe.sibling("bulkhead-compiler"), arguments: ["bulkhead-compiler"],
      descriptors: [
        null.raw, null.raw, errors.write.raw, report.write.raw, settings.descriptor.raw, input.descriptor.raw,
        output.raw,
      ])
    request.namespaces = .all
    let child = try ProcessSpawner.spawn(request)
    let reportEnd = report.takeRead()
    let errorEnd = errors.takeRead()
    var assembler = FrameAssembler(limit: Limits.maximumCompilerFrame)
    try Compiler.readAll(reportEnd).withUnsafeBytes { assembler.append($0) }
    var frames: [ReportFrame] = []
    while let frame = try assembler.next() { frames.append(frame) }
    let text = String(decoding: try Compiler.readAll(errorEnd), as: UTF8.self)
    return Outcome(
      status: try child.wait(), frames: frames, output: try RawDescriptor.readFile(output.raw, atMost: 1 << 30),
      errors: text)
  }

  private static func readAll(_ descriptor: borrowing Descriptor) throws -> [UInt8] {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = try chunk.withUnsafeMutableBytes { buffer in try descriptor.read(into: buffer) ?? 0 }
      if count == 0 { return bytes }
      bytes.append(contentsOf: chunk.prefix(count))
    }
  }
}

/// A small module in the binary format: one import, and exported functions that return.
struct WasmModule {
  var exports: [String]
  /// How many functions with some code in them it has.
  var functions = 1
  /// The first bytes of an exported memory of one page; nil: it begins with zeroes.
  var memoryBytes: [UInt8]?
  /// Whether its functions trap at their end.
  var traps = false

  var bytes: [UInt8] {
    var module: [UInt8] = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]
    // Types: () -> (), (i32 i32 i32) -> i32.
    module += section(1, [2, 0x60, 0, 0, 0x60, 3, 0x7f, 0x7f, 0x7f, 1, 0x7f])
    module += section(2, [1] + name("env") + name("proxy_log") + [0, 1])
    module += section(3, leb(functions) + [UInt8](repeating: 0, count: functions))
    // Function 0 is the import.
    module += section(5, [1, 0, 1])
    let memory = name("memory") + [2, 0]
    module += section(
      7, leb(exports.count + 1) + memory + exports.flatMap { name($0) + [0, 1] })
    // (drop (i32.const 7)), sixteen times.
    let body: [UInt8] = [0] + (0..<16).flatMap { _ in [0x41, 7, 0x1a] as [UInt8] } + (traps ? [0] : []) + [0x0b]
    let code = leb(body.count) + body
    module += section(10, leb(functions) + (0..<functions).flatMap { _ in code })
    if let memoryBytes { module += section(11, [1, 0, 0x41, 0, 0x0b] + leb(memoryBytes.count) + memoryBytes) }
    return module
  }

  private func section(_ id: UInt8, _ content: [UInt8]) -> [UInt8] { [id] + leb(content.count) + content }
  private func name(_ text: String) -> [UInt8] { leb(text.utf8.count) + Array(text.utf8) }

  private func leb(_ value: Int) -> [UInt8] {
    var rest = value
    var bytes: [UInt8] = []
    repeat {
      let low = UInt8(rest & 0x7f)
      rest >>= 7
      bytes.append(rest == 0 ? low : low | 0x80)
    } while rest != 0
    return bytes
  }
}
