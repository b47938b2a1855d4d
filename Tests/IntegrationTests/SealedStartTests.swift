import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// No instruction of a plugin runs before its worker's sandbox is shut.
@Suite struct SealedStartTests {
  /// A module whose start function, the first of its code that runs, never ends.
  private static let loopingStart: [UInt8] = {
    func section(_ number: UInt8, _ content: [UInt8]) -> [UInt8] { [number, UInt8(content.count)] + content }
    func name(_ text: String) -> [UInt8] { [UInt8(text.utf8.count)] + Array(text.utf8) }
    return [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]
      + section(1, [1, 0x60, 0, 0])
      + section(3, [2, 0, 0])
      + section(5, [1, 0, 1])
      + section(7, [2] + name("memory") + [2, 0] + name("proxy_abi_version_0_2_1") + [0, 0])
      + section(8, [1])
      // A function that returns, and one that is (loop (br 0)).
      + section(10, [2, 2, 0, 0x0b, 7, 0, 3, 0x40, 0x0c, 0, 0x0b, 0x0b])
  }()

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
}
