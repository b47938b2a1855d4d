import BulkheadCore
import BulkheadSystem
import Foundation
import Glibc
import Testing

@testable import BulkheadSupervisor

/// Under the final filter a VM can be made and dropped as often as one likes.
@Suite struct RenewalTests {
  /// What a process has, seen from outside.
  private struct Holdings {
    var mappings: Int
    var descriptors: Int
    var kibibytes: Int

    init(of pid: Int32) throws {
      func text(_ name: String) throws -> String {
        try String(contentsOfFile: "/proc/\(pid)/\(name)", encoding: .utf8)
      }
      mappings = try text("maps").split(separator: "\n").count
      descriptors = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd").count
      let line = try text("status").split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
      kibibytes = line?.split(separator: " ").compactMap { Int($0) }.first ?? 0
    }
  }

  @Test func aSealedProcessRenewsItsVMManyTimesWithoutGrowing() throws {
    var module = WasmModule(exports: ["proxy_abi_version_0_2_1", "crash"], functions: 20)
    module.memoryBytes = [7]
    module.traps = true
    let compiled = try Compiler.run(module.bytes)
    try #require(compiled.status == .exited(code: ExitCode.ok), "\(compiled)")
    let programs = try SeccompPrograms.load(
      policyDirectories: [Probe.policies.deletingLastPathComponent().path], policies: []
    ) { _, _ in }
    let loading = try Memfd.message(name: "loading-program", programs.worker.loading)
    var held: [Holdings] = []
    let outcome = try Probe.run(["renewals"], content: compiled.output) { line, process in
      if line.hasPrefix("round ") { held.append(try Holdings(of: process.pid)) }
    } configure: { request in
      request.executable = Probe.sibling("bulkhead-renewal-probe")
      request.descriptors.append(loading.descriptor.raw)
    }
    #expect(outcome.status == .exited(code: 0), "\(outcome.lines)")
    #expect(outcome.lines.last == "traps 20000 of 20000", "\(outcome.lines)")
    try #require(held.count == 2)
    #expect(held[1].descriptors == held[0].descriptors)
    #expect(held[1].mappings <= held[0].mappings + 2)
    #expect(held[1].kibibytes <= held[0].kibibytes + 512)
  }
}
