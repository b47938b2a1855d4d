import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// The bounds of a running worker's control group, as the kernel has them.
@Suite struct ControlGroupTests {
  /// The directory of a process's group in the hierarchy that has the controller; nil where there is none.
  static func directory(of process: String, _ controller: String) throws -> (path: String, isUnified: Bool)? {
    let groups = try String(contentsOfFile: "/proc/\(process)/cgroup", encoding: .utf8).split(separator: "\n")
    let mounts = try String(contentsOfFile: "/proc/self/mountinfo", encoding: .utf8).split(separator: "\n")
    for isUnified in [false, true] {
      for mount in mounts {
        let halves = mount.components(separatedBy: " - ")
        let place = halves[0].split(separator: " ").map(String.init)
        guard halves.count == 2, place.count >= 5 else { continue }
        let kind = halves[1].split(separator: " ").map(String.init)
        guard kind.first == (isUnified ? "cgroup2" : "cgroup") else { continue }
        let options = kind.last.map { $0.split(separator: ",").map(String.init) } ?? []
        guard isUnified || options.contains(controller) else { continue }
        for group in groups {
          let parts = group.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
          guard parts.count == 3 else { continue }
          let isOfIt = isUnified ? parts[0] == "0" : parts[1].split(separator: ",").contains(Substring(controller))
          guard isOfIt else { continue }
          let (root, mounted) = (place[3], place[4])
          let inside = root != "/" && parts[2].hasPrefix(root) ? String(parts[2].dropFirst(root.count)) : parts[2]
          let path = mounted + (inside == "/" ? "" : inside)
          if isUnified {
            let controllers = try? String(contentsOfFile: path + "/cgroup.controllers", encoding: .utf8)
            guard controllers?.split(whereSeparator: \.isWhitespace).contains(Substring(controller)) == true else {
              continue
            }
          }
          return (path, isUnified)
        }
      }
    }
    return nil
  }

  /// Whether this process may make groups below its own there, by having made one.
  static func mayMakeGroups(_ controller: String) throws -> Bool {
    guard let own = try directory(of: "self", controller), !own.isUnified else { return false }
    let path = "\(own.path)/bulkhead-test-\(getpid())-\(UUID().uuidString.prefix(8))"
    guard mkdir(path, 0o755) == 0 else { return false }
    let isBounded = access(path + (controller == "memory" ? "/memory.limit_in_bytes" : "/cpu.cfs_quota_us"), W_OK) == 0
    rmdir(path)
    return isBounded
  }

  @Test func aWorkersGroupHasTheBoundsOfItsPolicy() throws {
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "stamp", module: "header", policy: "half")],
      files: ["policies/half.yaml": "name: half\nmemoryLimit: 16MiB\ncpuPercent: 50\ncallbackDeadline: 10s\n"])
    let worker = try #require(try bulkhead.worker(of: "stamp"))
    let report = try #require(worker.isolation.first { $0.layer == .cgroup })
    guard report.holds else {
      #expect(["cannot ", "no hierarchy", "is not enabled for"].contains { report.why.contains($0) }, "\(report.why)")
      let isWritable = try Self.mayMakeGroups("memory") && Self.mayMakeGroups("cpu")
      #expect(!isWritable, "groups can be made here, and it has none: \(report.why)")
      return
    }
    func value(_ controller: String, _ file: (v1: String, v2: String)) throws -> String {
      let group = try #require(try Self.directory(of: "\(worker.pid)", controller))
      #expect(group.path.contains("/bulkhead-worker-"), "\(group)")
      return try String(contentsOfFile: "\(group.path)/\(group.isUnified ? file.v2 : file.v1)", encoding: .utf8)
        .trimmingCharacters(in: .whitespacesAndNewlines)
    }
    // Beside the guest's 16 MiB there are its code, its stack and the rings, and no more than that.
    let memory = try #require(Int(try value("memory", ("memory.limit_in_bytes", "memory.max"))))
    #expect(memory > 16 << 20 && memory < 512 << 20, "\(memory)")
    #expect(memory % 4_096 == 0)
    let cpu = try #require(try Self.directory(of: "\(worker.pid)", "cpu"))
    let share: [Int] =
      cpu.isUnified
      ? try value("cpu", ("", "cpu.max")).split(separator: " ").compactMap { Int($0) }
      : try [value("cpu", ("cpu.cfs_quota_us", "")), value("cpu", ("cpu.cfs_period_us", ""))].compactMap { Int($0) }
    #expect(share.count == 2)
    #expect(share.first.map { $0 * 2 } == share.last, "half a processor: \(share)")
    #expect(report.why.contains("cpu 50 %"), "\(report.why)")
    #expect(try bulkhead.get().status == 200)
  }
}
