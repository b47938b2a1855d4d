import BulkheadCore
import BulkheadSystem
import Foundation
import Glibc
import Testing

@testable import BulkheadSupervisor

/// A kernel's control groups, as far as they are asked for.
private final class FakeHierarchy: @unchecked Sendable {
  var directories: Set<String>
  var contents: [String: String] = [:]
  /// What every write, or making of a directory, to a path with that ending fails with.
  var refusals: [String: Int32] = [:]
  var log: [String] = []

  init(_ directories: Set<String>) { self.directories = directories }

  var files: ControlGroupFiles {
    ControlGroupFiles(
      makeDirectory: { [self] path throws(SystemError) in
        try refuse(path)
        guard directories.insert(path).inserted else {
          throw SystemError(operation: "make the control group", subject: path, code: EEXIST)
        }
        log.append("mkdir \(path)")
      },
      removeDirectory: { [self] path throws(SystemError) in
        guard directories.remove(path) != nil else {
          throw SystemError(operation: "remove the control group", subject: path, code: ENOENT)
        }
        log.append("rmdir \(path)")
      },
      write: { [self] text, path throws(SystemError) in
        try refuse(path)
        log.append("\(path) = \(text == "\(getpid())" ? "PID" : text)")
      },
      read: { [self] path in contents[path] },
      list: { [self] path in
        directories.filter { $0.hasPrefix(path + "/") }.map { String($0.dropFirst(path.count + 1)) }.sorted()
      })
  }

  private func refuse(_ path: String) throws(SystemError) {
    for (ending, code) in refusals where path.hasSuffix(ending) {
      throw SystemError(operation: "write to", subject: path, code: code)
    }
  }
}

@Suite struct ControlGroupTests {
  private static let unifiedMount = "41 31 0:38 / /cg rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"

  @Test(
    arguments: [
      ("0::/system.slice/bulkhead.service", unifiedMount, "/cg/system.slice/bulkhead.service", [:]),
      ("0::/", unifiedMount, "/cg", [:]),
      // A container that sees its own part of the tree only.
      ("0::/docker/abc/x", "1 2 0:38 /docker/abc /cg rw - cgroup2 cgroup rw", "/cg/x", [:]),
      ("0::/elsewhere", "1 2 0:38 /docker/abc /cg rw - cgroup2 cgroup rw", nil, [:]),
      ("0::/docker/abcd", "1 2 0:38 /docker/abc /cg rw - cgroup2 cgroup rw", nil, [:]),
      ("0::/x", "1 2 0:38 / /a\\040place rw - cgroup2 cgroup rw", "/a place/x", [:]),
      (
        "4:memory:/m\n3:cpu,cpuacct:/c\n1:name=systemd:/\n0::/u",
        "1 2 0:1 / /s/memory rw - cgroup cgroup rw,memory\n2 2 0:2 / /s/cpu rw master:2 - cgroup cgroup rw,cpu,cpuacct\n"
          + unifiedMount, "/cg/u", [ControlGroupController.memory: "/s/memory/m", .cpu: "/s/cpu/c"]
      ),
      ("4:memory:/m", "", nil, [:]),
      ("", unifiedMount, nil, [:]),
      ("garbage\n::\n0:", "1 2 3\n- - -\n1 2 0:38 / /cg rw -", nil, [:]),
    ] as [(String, String, String?, [ControlGroupController: String])])
  func theOwnGroupIsFoundWhereItIsMounted(
    _ groups: String, _ mounts: String, _ unified: String?, _ legacy: [ControlGroupController: String]
  ) {
    let found = ControlGroupMounts(groups: groups, mounts: mounts)
    #expect(found.unified == unified)
    #expect(found.legacy == legacy)
  }

  private func unified(_ change: (FakeHierarchy) -> Void = { _ in }) -> (FakeHierarchy, ControlGroups) {
    let fake = FakeHierarchy(["/cg/b.service"])
    fake.contents["/cg/b.service/cgroup.controllers"] = "cpu io memory pids\n"
    fake.contents["/cg/b.service/cgroup.subtree_control"] = "\n"
    change(fake)
    return (fake, ControlGroups(groups: "0::/b.service", mounts: Self.unifiedMount, files: fake.files))
  }

  @Test func theSupervisorMakesRoomForGroupsAndGoesBackAtTheEnd() {
    let (fake, groups) = unified()
    #expect(
      fake.log == [
        "mkdir /cg/b.service/supervisor", "/cg/b.service/supervisor/cgroup.procs = PID",
        "/cg/b.service/cgroup.subtree_control = +memory", "/cg/b.service/cgroup.subtree_control = +cpu",
      ])
    fake.log = []
    groups.leave()
    #expect(
      fake.log == [
        "/cg/b.service/cgroup.subtree_control = -memory", "/cg/b.service/cgroup.subtree_control = -cpu",
        "/cg/b.service/cgroup.procs = PID", "rmdir /cg/b.service/supervisor",
      ])
  }

  @Test func aGroupThatTheServiceManagerMadeForTheSupervisorIsUsed() {
    let fake = FakeHierarchy(["/cg/b.service/supervisor"])
    fake.contents["/cg/b.service/cgroup.controllers"] = "cpu memory"
    fake.contents["/cg/b.service/supervisor/cgroup.controllers"] = "cpu memory"
    fake.contents["/cg/b.service/cgroup.subtree_control"] = "memory cpu"
    let groups = ControlGroups(groups: "0::/b.service/supervisor", mounts: Self.unifiedMount, files: fake.files)
    #expect(fake.log.isEmpty)
    #expect(groups.hierarchies[.cpu] == .init(isUnified: true, directory: "/cg/b.service"))
    groups.leave()
    #expect(fake.log.isEmpty)
  }

  /// Right after `DelegateSubgroup=` was followed the group below has no controllers: nobody has enabled them yet.
  @Test func controllersThatNobodyEnabledForTheSupervisorsGroupAreEnabled() {
    let fake = FakeHierarchy(["/cg/b.service/supervisor"])
    fake.contents["/cg/b.service/cgroup.controllers"] = "cpu memory pids"
    fake.contents["/cg/b.service/supervisor/cgroup.controllers"] = ""
    fake.contents["/cg/b.service/cgroup.subtree_control"] = ""
    let groups = ControlGroups(groups: "0::/b.service/supervisor", mounts: Self.unifiedMount, files: fake.files)
    #expect(
      fake.log == ["/cg/b.service/cgroup.subtree_control = +memory", "/cg/b.service/cgroup.subtree_control = +cpu"])
    #expect(groups.hierarchies[.memory] == .init(isUnified: true, directory: "/cg/b.service"))
    #expect(groups.hierarchies[.cpu] == .init(isUnified: true, directory: "/cg/b.service"))
  }

  @Test func aWorkersGroupBoundsItsMemoryAndItsShare() {
    let (fake, groups) = unified()
    fake.log = []
    let name = "/cg/b.service/bulkhead-worker-\(getpid())-1"
    do {
      let group = groups.make(memory: 100_000, cpuPercent: 25)
      #expect(group.placement.why.hasPrefix("memory 100 KiB (v2); cpu 25 % (v2)"), "\(group.placement.why)")
      #expect(
        fake.log == [
          "mkdir \(name)", "\(name)/memory.max = 102400", "\(name)/memory.swap.max = 0", "\(name)/memory.oom.group = 1",
          "\(name)/cpu.max = 2500 10000",
        ])
      #expect(!group.wasOutOfMemory)
      fake.contents["\(name)/memory.events"] = "low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\n"
      #expect(group.wasOutOfMemory)
      fake.log = []
    }
    #expect(fake.log == ["rmdir \(name)"])
  }

  @Test func aShareBelowTenPercentGetsLongerPeriods() {
    let (fake, groups) = unified()
    _ = groups.make(memory: 1 << 20, cpuPercent: 1)
    #expect(fake.log.contains { $0.hasSuffix("/cpu.max = 1000 100000") })
  }

  @Test func aWorkerThatGivesWayDoesSoAsAGroup() {
    let (fake, groups) = unified()
    _ = groups.make(memory: 1 << 20, cpuPercent: nil)
    #expect(!fake.log.contains { $0.contains("cpu.weight") })
    _ = groups.make(memory: 1 << 20, cpuPercent: nil, niceness: 10)
    #expect(fake.log.contains("/cg/b.service/bulkhead-worker-\(getpid())-2/cpu.weight.nice = 10"))

    // Of version 1, where it has a group for processors: else it is nice as a process is.
    let old = FakeHierarchy(["/m/s", "/c/s"])
    let legacy = ControlGroups(
      groups: "4:memory:/s\n3:cpu:/s",
      mounts: "1 2 0:1 / /m rw - cgroup cgroup rw,memory\n2 2 0:2 / /c rw - cgroup cgroup rw,cpu\n", files: old.files)
    _ = legacy.make(memory: 1 << 20, cpuPercent: nil, niceness: 10)
    #expect(!old.log.contains { $0.contains("cpu.shares") })
    _ = legacy.make(memory: 1 << 20, cpuPercent: 50, niceness: 10)
    #expect(old.log.filter { $0.contains("cpu.shares") } == ["/c/s/bulkhead-worker-\(getpid())-3/cpu.shares = 108"])
  }

  @Test(arguments: [
    (EBUSY, "other processes are in the same control group"), (EACCES, "set Delegate=yes for the service"),
    (EROFS, "set Delegate=yes for the service"),
  ])
  func whereNothingIsDelegatedEverythingIsAsItWasAndTheReasonIsSaid(_ code: Int32, _ advice: String) {
    let (fake, groups) = unified { $0.refusals["cgroup.subtree_control"] = code }
    #expect(fake.log.suffix(2) == ["/cg/b.service/cgroup.procs = PID", "rmdir /cg/b.service/supervisor"])
    #expect(groups.hierarchies.isEmpty)
    let placement = groups.make(memory: 1 << 20, cpuPercent: nil).placement
    #expect(!placement.isWhole)
    #expect(placement.directory == nil && placement.processFiles.isEmpty)
    #expect(placement.why.hasPrefix("memory: "))
    #expect(placement.why.contains(advice), "\(placement.why)")
  }

  @Test func whatABrokenSupervisorLeftBehindIsRemovedAndItsNumbersArePassedOver() {
    let (fake, groups) = unified {
      $0.directories.formUnion(["/cg/b.service/bulkhead-worker-7-1", "/cg/b.service/other"])
    }
    #expect(!fake.directories.contains("/cg/b.service/bulkhead-worker-7-1"))
    #expect(fake.directories.contains("/cg/b.service/other"))
    fake.directories.insert("/cg/b.service/bulkhead-worker-\(getpid())-1")
    let group = groups.make(memory: 1 << 20, cpuPercent: nil)
    #expect(group.directories.map(\.path) == ["/cg/b.service/bulkhead-worker-\(getpid())-2"])
  }

  @Test func controllersOfVersion1HaveAGroupEach() {
    let fake = FakeHierarchy(["/m/s", "/c/s"])
    let groups = ControlGroups(
      groups: "4:memory:/s\n3:cpu:/s\n0::/u",
      mounts: "1 2 0:1 / /m rw - cgroup cgroup rw,memory\n2 2 0:2 / /c rw - cgroup cgroup rw,cpu\n" + Self.unifiedMount,
      files: fake.files)
    fake.log = []
    let memory = "/m/s/bulkhead-worker-\(getpid())-1"
    let cpu = "/c/s/bulkhead-worker-\(getpid())-2"
    let group = groups.make(memory: 8_192, cpuPercent: 150)
    #expect(
      fake.log == [
        "mkdir \(memory)", "\(memory)/memory.limit_in_bytes = 8192", "\(memory)/memory.memsw.limit_in_bytes = 8192",
        "mkdir \(cpu)", "\(cpu)/cpu.cfs_period_us = 10000", "\(cpu)/cpu.cfs_quota_us = 15000",
      ])
    fake.contents["\(memory)/memory.oom_control"] = "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"
    #expect(group.wasOutOfMemory)
  }

  @Test func aShareThatCannotBeBoundedIsMissingWhereItIsAskedFor() {
    let fake = FakeHierarchy(["/m/s"])
    let groups = ControlGroups(
      groups: "4:memory:/s", mounts: "1 2 0:1 / /m rw - cgroup cgroup rw,memory", files: fake.files)
    #expect(groups.make(memory: 1 << 20, cpuPercent: nil).placement.why.hasPrefix("memory 1 MiB (v1)"))
    let placement = groups.make(memory: 1 << 20, cpuPercent: 50).placement
    #expect(!placement.isWhole)
    #expect(placement.why.contains("cpu: no hierarchy with the controller cpu is mounted"), "\(placement.why)")
  }

  /// The kernel's own, where this process may make groups; elsewhere the reason has to be there.
  @Test func aProcessThatTakesMoreThanItsGroupAllowsIsEndedByTheKernelAndTold() throws {
    let groups = ControlGroups()
    defer { groups.leave() }
    let group = groups.make(memory: 16 << 20, cpuPercent: nil)
    guard group.placement.isWhole else {
      #expect(group.placement.why.hasPrefix("memory: "))
      return
    }
    var request = SpawnRequest(
      executable: "/bin/sh",
      arguments: ["sh", "-c", "x=$(head -c 200000000 /dev/zero | tr '\\0' a); echo ${#x}"], descriptors: [0, 2, 2])
    request.controlGroup = group.placement
    request.required = [.cgroup]
    let child = try ProcessSpawner.spawn(request)
    let status = try child.wait()
    #expect(status == .signaled(signal: SIGKILL, coreDumped: false))
    #expect(group.wasOutOfMemory)
    let cause = ExitAnalysis.cause(
      .init(first: nil, end: status, wasReady: true, wasKilled: false, wasOutOfMemory: group.wasOutOfMemory))
    #expect(cause.reason == .memory)
  }
}
