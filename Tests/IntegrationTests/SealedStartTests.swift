import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// No instruction of a plugin runs before its worker's sandbox is shut.
@Suite struct SealedStartTests {
  /// A module with a memory, the marker of the ABI, and a second function.
  ///
  /// - Parameters:
  ///   - marker: the marker's code.
  ///   - second: the other function's.
  private static func module(marker: [UInt8], second: [UInt8], startsWithSecond: Bool) -> [UInt8] {
    func section(_ number: UInt8, _ content: [UInt8]) -> [UInt8] { [number, UInt8(content.count)] + content }
    func name(_ text: String) -> [UInt8] { [UInt8(text.utf8.count)] + Array(text.utf8) }
    func code(_ body: [UInt8]) -> [UInt8] { [UInt8(body.count + 2), 0] + body + [0x0b] }
    return [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]
      + section(1, [1, 0x60, 0, 0])
      + section(3, [2, 0, 0])
      + section(5, [1, 0, 1])
      + section(7, [2] + name("memory") + [2, 0] + name("proxy_abi_version_0_2_1") + [0, 0])
      + (startsWithSecond ? section(8, [1]) : [])
      + section(10, [2] + code(marker) + code(second))
  }

  /// Its start function, the first of its code that runs, never ends: (loop (br 0)).
  private static let loopingStart = module(
    marker: [], second: [0x03, 0x40, 0x0c, 0, 0x0b], startsWithSecond: true)
  /// Its marker is a tail call: (return_call 1).
  private static let tailCall = module(marker: [0x12, 1], second: [], startsWithSecond: false)

  private static func status(of pid: Int32) throws -> [String: String] {
    let text = try String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
    return Dictionary(
      text.split(separator: "\n").compactMap { line in
        let parts = line.split(separator: ":", maxSplits: 1)
        return parts.count == 2 ? (String(parts[0]), parts[1].trimmingCharacters(in: .whitespaces)) : nil
      }, uniquingKeysWith: { first, _ in first })
  }

  /// Processor time that it has used, in ticks.
  private static func time(of pid: Int32) throws -> Int {
    let text = try String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)
    let fields = text.split(separator: ")").last?.split(separator: " ") ?? []
    return fields.count > 12 ? (Int(fields[11]) ?? 0) : 0
  }

  @Test func aModuleThatLoopsInItsStartFunctionDoesSoUnderTheFinalFilter() throws {
    let module = FileManager.default.temporaryDirectory.appending(path: "looping-start-\(UUID().uuidString).wasm")
    try Data(Self.loopingStart).write(to: module)
    defer { try? FileManager.default.removeItem(at: module) }
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "looping", module: module.path, policy: "slow")], waitForReady: false,
      files: ["policies/slow.yaml": "name: slow\nstartDeadline: 30s\n"])
    var pid: Int32 = 0
    try bulkhead.wait("its worker is in the start function") {
      guard let worker = try bulkhead.workers().first, worker.state == .starting else { return false }
      pid = worker.pid
      // Far more than a start takes that has nothing to run.
      return try Self.time(of: pid) > 50
    }
    let status = try Self.status(of: pid)
    #expect(status["Seccomp"] == "2")
    // The wider filter of loading, and the final one over it.
    if let filters = status["Seccomp_filters"] { #expect(filters == "2") }
    #expect(status["NoNewPrivs"] == "1")
    #expect(status["CapEff"] == "0000000000000000")
    let descriptors = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(pid)/fd")
    #expect(Set(descriptors) == ["2", "3", "7", "9"], "neither its module nor its channel is open any more")
    let layers = try #require(try bulkhead.workers().first { $0.pid == pid }).isolation
    #expect(layers.first { $0.layer == .seccomp }?.holds == true)
    // And it can still be stopped from there, with a backtrace.
    kill(pid, SIGUSR1)
    try bulkhead.wait("it was interrupted") { try bulkhead.plugin("looping").lastExit?.reason == .deadline }
  }

  /// Compiler, cache and worker agree on the features that a policy turns on.
  @Test func aPluginMayUseWhatItsPolicyTurnsOn() throws {
    let module = FileManager.default.temporaryDirectory.appending(path: "tail-call-\(UUID().uuidString).wasm")
    try Data(Self.tailCall).write(to: module)
    defer { try? FileManager.default.removeItem(at: module) }
    let bulkhead = try Bulkhead(
      plugins: [
        TestPlugin(name: "tails", module: module.path, policy: "tails"),
        TestPlugin(name: "more", module: module.path, policy: "more"),
      ],
      files: [
        "policies/tails.yaml": "name: tails\nwasmFeatures: [tailCalls]\n",
        "policies/more.yaml": "name: more\nwasmFeatures: [tailCalls, relaxedSimd]\n",
      ])
    #expect(try bulkhead.get().status == 200)
    let cache = bulkhead.directory.appending(path: "cache")
    let compiled = try FileManager.default.contentsOfDirectory(atPath: cache.path).filter { $0.hasSuffix(".cwasm") }
    #expect(compiled.count == 2, "each set of features has a file of its own: \(compiled)")
    // A policy without them refuses the module, and the plugin goes on as it was.
    try bulkhead.write("policies/tails.yaml", "name: tails\n")
    let answer = try bulkhead.control("POST", "/v1/reload")
    #expect(answer.status / 100 != 2)
    #expect(answer.text.contains("wasmFeatures: [tailCalls]"), "\(answer)")
    #expect(try bulkhead.get().status == 200)
  }
}
