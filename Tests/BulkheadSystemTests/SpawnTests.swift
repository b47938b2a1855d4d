import BulkheadCore
import BulkheadSystem
import CBulkheadSys
import Glibc
import Testing

@Suite struct SpawnTests {
  @Test func aChildsExitCodeIsCollectedOnce() throws {
    let child = try Shell.start("exit 7")
    #expect(try child.wait() == .exited(code: 7))
    #expect(throws: SystemError.self) { try child.wait() }
  }

  @Test func aFileCanBeExecutedWhateverIsAtItsPathByNow() throws {
    let shell = try Descriptor.open("/bin/sh", .locate)
    // More than its own number, which is one of the child's.
    let null = try Descriptor.open("/dev/null", .readWrite)
    var request = SpawnRequest(
      executable: "/nonexistent/sh", arguments: ["sh", "-c", "exit 3"],
      descriptors: [Int32](repeating: null.raw, count: Int(shell.raw) + 3), namespaces: .all)
    request.image = shell.raw
    #expect(try ProcessSpawner.spawn(request).wait() == .exited(code: 3))
    request.image = null.raw
    do {
      _ = try ProcessSpawner.spawn(request)
      Issue.record("no program was executed")
    } catch {
      #expect(error.operation == "execute" && error.code == EACCES, "\(error)")
    }
  }

  @Test func aChildsSignalIsNamed() throws {
    let child = try Shell.start("kill -TERM $$")
    let status = try child.wait()
    #expect(status == .signaled(signal: SIGTERM, coreDumped: false))
    #expect(status.description == "killed by SIGTERM")
  }

  @Test(arguments: SpawnStep.allCases)
  func aStepThatFailsIsNamed(_ step: SpawnStep) throws {
    var request = SpawnRequest(
      executable: "/bin/sh", arguments: ["sh", "-c", "exit 0"], descriptors: [0, 1, 2],
      // The maps are written only for a user namespace, and with one their failure is not the end: see below.
      namespaces: [])
    request.failingStep = (step, EDOM)
    // Where they are not required, their failure is reported: see below.
    request.controlGroup = ControlGroupPlacement(isWhole: true, why: "")
    request.required = [.cgroup, .oomScore]
    switch step {
    case .setgroups, .uidMap, .gidMap, .userNamespaces:
      let child = try ProcessSpawner.spawn(request)
      #expect(try child.wait() == .exited(code: 0))
    default:
      do {
        let child = try ProcessSpawner.spawn(request)
        Issue.record("process \(child.pid) started although \(step) failed")
      } catch {
        #expect(error.code == EDOM)
        #expect(error.subject == "/bin/sh")
        #expect(error.operation == SpawnStepTexts.operation(step))
      }
    }
  }

  /// By its own niceness, and by that of its session where the scheduler shares by sessions.
  @Test func aChildThatGivesWayIsNiceToOthers() throws {
    let script = "cut -d' ' -f19 /proc/self/stat; cat /proc/self/autogroup 2>/dev/null | sed 's/.* //'"
    let hasSessions = access("/proc/self/autogroup", F_OK) == 0
    for niceness: Int32 in [0, 8, 10] {
      var request = Shell.request(script)
      request.niceness = niceness
      let own = getpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0)
      #expect(try Shell.output(request).text == "\(max(own, niceness))\n" + (hasSessions ? "\(niceness)\n" : ""))
    }
  }

  @Test(arguments: [SpawnStep.uidMap, .gidMap])
  func aMapThatCannotBeWrittenCostsTheUserNamespaceAndIsReported(_ step: SpawnStep) throws {
    var request = Shell.request("exit 0")
    request.namespaces = .all
    request.failingStep = (step, EPERM)
    let child = try ProcessSpawner.spawn(request)
    #expect(try child.wait() == .exited(code: 0))
    let report = try #require(child.layers.first { $0.layer == .userNamespace })
    #expect(!report.holds)
    #expect(report.why.contains("map of /bin/sh: operation not permitted (EPERM)"))
    let mount = try #require(child.layers.first { $0.layer == .mountNamespace })
    #expect(mount.holds == (geteuid() == 0))
  }

  @Test func furtherUserNamespacesThatCannotBeForbiddenAreReported() throws {
    var request = Shell.request("exit 3")
    request.namespaces = .all
    request.failingStep = (.userNamespaces, EROFS)
    let child = try ProcessSpawner.spawn(request)
    #expect(try child.wait() == .exited(code: 3), "it runs all the same")
    let report = try #require(child.layers.first { $0.layer == .noUserNamespaces })
    #expect(!report.holds)
    #expect(report.evidence == .outside)
    #expect(report.why.hasPrefix("cannot forbid further user namespaces in that of it: "), "\(report.why)")
  }

  /// Version 1 for one controller and version 2 for another: the birth into a group of the one says nothing to the other.
  @Test func aChildThatIsBornIntoItsGroupIsPlacedInThoseOfOtherHierarchiesToo() throws {
    let unified = try Pipe(nonBlockingRead: true)
    let legacy = try Pipe(nonBlockingRead: true)
    // The root of version 2, where it is mounted and this process may use it; elsewhere the child is written to both.
    let directory = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].lazy
      .filter { access("\($0)/cgroup.controllers", F_OK) == 0 }.compactMap { try? Descriptor.open($0, .read).release() }
      .first
    defer { if let directory { close(directory) } }
    var request = Shell.request("exit 0")
    request.controlGroup = ControlGroupPlacement(
      directory: directory, processFiles: [unified.write.raw], legacyProcessFiles: [legacy.write.raw], isWhole: true,
      why: "memory 1 MiB (v1)")
    request.required = [.cgroup]
    let child = try ProcessSpawner.spawn(request)
    #expect(try child.wait() == .exited(code: 0))
    func text(_ pipe: borrowing Pipe) throws -> String {
      var bytes = [UInt8](repeating: 0, count: 32)
      let count = try bytes.withUnsafeMutableBytes { try pipe.read.read(into: $0) } ?? 0
      return String(decoding: bytes.prefix(count), as: UTF8.self)
    }
    #expect(try text(legacy) == "\(child.pid)")
    #expect(["", "\(child.pid)"].contains(try text(unified)))
  }

  @Test(arguments: [(SpawnStep.controlGroup, IsolationLayer.cgroup), (.oomScore, .oomScore)])
  func aLayerThatCannotBeHadIsReportedUnlessItIsRequired(_ step: SpawnStep, _ layer: IsolationLayer) throws {
    var request = Shell.request("exit 0")
    request.controlGroup = ControlGroupPlacement(isWhole: true, why: "memory 1 MiB")
    request.oomScore = 500
    request.failingStep = (step, EACCES)
    let child = try ProcessSpawner.spawn(request)
    #expect(try child.wait() == .exited(code: 0))
    let report = try #require(child.layers.first { $0.layer == layer })
    #expect(!report.holds)
    #expect(report.why == "cannot \(SpawnStepTexts.operation(step)) it: permission denied (EACCES)")
    request.required = [layer]
    #expect {
      _ = try ProcessSpawner.spawn(request)
    } throws: {
      "\($0)".hasSuffix("permission denied (EACCES): required: \(layer.rawValue)")
    }
  }

  @Test func aGroupThatDoesNotBoundAllIsNotEnoughWhereItIsRequired() {
    var request = Shell.request("exit 0")
    request.required = [.cgroup]
    #expect { _ = try ProcessSpawner.spawn(request) } throws: { "\($0)".hasSuffix("required: none was asked for") }
    request.controlGroup = ControlGroupPlacement(isWhole: false, why: "cpu: it is not delegated")
    #expect {
      _ = try ProcessSpawner.spawn(request)
    } throws: {
      "\($0)".hasSuffix("the layer cgroup is required: cpu: it is not delegated")
    }
  }

  @Test func aNamespaceThatIsRequiredIsNeverGivenUp() throws {
    var request = Shell.request("exit 0")
    request.namespaces = .all
    request.required = [.userNamespace, .networkNamespace]
    request.failingStep = (.uidMap, EPERM)
    #expect {
      _ = try ProcessSpawner.spawn(request)
    } throws: {
      "\($0)".contains("(EPERM): ") && "\($0)".hasSuffix("required: userNamespace, networkNamespace")
    }
    // Of what is not required, all but that can still be had.
    request.required = [.networkNamespace]
    guard geteuid() == 0 else { return }
    let child = try ProcessSpawner.spawn(request)
    #expect(child.layers.first { $0.layer == .networkNamespace }?.holds == true)
    #expect(child.layers.first { $0.layer == .userNamespace }?.holds == false)
    #expect(try child.wait() == .exited(code: 0))
  }

  @Test func theScoreIsThereBeforeTheProgramRuns() throws {
    var request = Shell.request("cat /proc/self/oom_score_adj")
    request.oomScore = 500
    let (text, layers) = try Shell.output(request)
    #expect(text == "500\n")
    #expect(
      layers.first { $0.layer == .oomScore }
        == LayerReport(layer: .oomScore, holds: true, why: "oom_score_adj 500", evidence: .outside))
  }

  @Test func aKernelWithoutClone3StartsProcessesAllTheSame() throws {
    var request = Shell.request("exit 3")
    request.namespaces = .all
    request.failingStep = (.clone, ENOSYS)
    let child = try ProcessSpawner.spawn(request)
    for layer in child.layers where ![.cgroup, .oomScore].contains(layer.layer) {
      #expect(layer.holds, "\(layer.layer): \(layer.why)")
    }
    #expect(try child.wait() == .exited(code: 3))
  }

  @Test func everyNamespaceIsItsOwn() throws {
    var request = Shell.request(
      "readlink /proc/self/ns/user /proc/self/ns/mnt /proc/self/ns/pid /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/uts"
    )
    request.namespaces = .all
    let (text, layers) = try Shell.output(request)
    let ours = try Shell.output(
      Shell.request(
        "readlink /proc/self/ns/user /proc/self/ns/mnt /proc/self/ns/pid /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/uts"
      )
    ).text
    #expect(Set(text.split(separator: "\n")).isDisjoint(with: ours.split(separator: "\n")))
    for layer in layers where ![.cgroup, .oomScore].contains(layer.layer) {
      #expect(layer.holds, "\(layer.layer): \(layer.why)")
    }
  }

  @Test func rootsChildCanBecomeSomebodyWithoutRights() throws {
    var request = Shell.request("cat /proc/self/uid_map")
    request.namespaces = .all
    let map = try Shell.output(request).text.split(separator: "\n").map {
      $0.split(separator: " ").joined(separator: " ")
    }
    #expect(map == (geteuid() == 0 ? ["0 0 1", "1 65534 1"] : ["0 \(geteuid()) 1"]))
  }

  @Test func descriptorsLandAtTheirNumbersAndNothingElseIsOpen() throws {
    // A table that crosses over itself: each source sits where another has to go.
    let first = try Memfd.message(name: "first", Array("first".utf8)).takeDescriptor()
    let second = try Memfd.message(name: "second", Array("second".utf8)).takeDescriptor()
    let stray = try Pipe()
    let low = min(first.raw, second.raw)
    let high = max(first.raw, second.raw)
    var table: [Int32] = [0, 1, 2]
    while table.count <= Int(high) { table.append(low) }
    table[Int(low)] = high
    let output = try Pipe()
    table[1] = output.write.raw
    var request = Shell.request("for fd in /proc/self/fd/*; do echo ${fd##*/} $(readlink $fd); done")
    request.descriptors = table
    let text = try Shell.output(request, from: output).text
    var seen: [Int: String] = [:]
    for line in text.split(separator: "\n") {
      let parts = line.split(separator: " ", maxSplits: 1)
      if let number = parts.first.flatMap({ Int($0) }) { seen[number] = parts.last.map(String.init) }
    }
    #expect(seen[Int(low)]?.contains(high == first.raw ? "first" : "second") == true)
    #expect(seen[Int(high)]?.contains(low == first.raw ? "first" : "second") == true)
    #expect(
      seen.filter { $0.key >= table.count && $0.value.contains("pipe") }.isEmpty, "\(seen), stray \(stray.read.raw)")
  }

  @Test func theEnvironmentIsEmpty() throws {
    let (text, _) = try Shell.output(
      SpawnRequest(executable: "/usr/bin/env", arguments: ["env"], descriptors: [0, 1, 2]))
    #expect(text == "")
  }

  @Test func aMissingBinaryIsNamedWithAdvice() throws {
    do {
      _ = try ProcessSpawner.spawn(SpawnRequest(executable: "/nowhere/worker", arguments: ["worker"], descriptors: []))
      Issue.record("it started")
    } catch {
      #expect(
        "\(error)" == "cannot execute /nowhere/worker: no such file or directory (ENOENT): it is not installed there")
    }
  }

  @Test func aDescriptorThatIsNotOpenIsTheDescriptorsStep() throws {
    do {
      _ = try ProcessSpawner.spawn(SpawnRequest(executable: "/bin/sh", arguments: ["sh"], descriptors: [999]))
      Issue.record("it started")
    } catch {
      #expect(error.operation == SpawnStepTexts.operation(.descriptors))
      #expect(error.code == EBADF)
    }
  }

  @Test func ignoredAndBlockedSignalsAreNotInherited() throws {
    signal(SIGUSR2, SIG_IGN)
    defer { signal(SIGUSR2, SIG_DFL) }
    let (text, _) = try Shell.output(
      SpawnRequest(
        executable: "/bin/cat", arguments: ["cat", "/proc/self/status"], descriptors: [0, 1, 2]))
    for name in ["SigBlk", "SigIgn"] {
      let line = text.split(separator: "\n").first { $0.hasPrefix(name) }
      #expect(line?.hasSuffix("0000000000000000") == true, "\(line ?? "")")
    }
  }

  @Test func aChildHasASessionOfItsOwn() throws {
    let child = try Shell.start("exec sleep 60")
    #expect(getsid(child.pid) == child.pid)
    try child.send(signal: SIGKILL)
    #expect(try child.wait() == .signaled(signal: SIGKILL, coreDumped: false))
  }

  @Test func aChildDiesWithTheThreadThatSpawnedIt() throws {
    // The death signal is tied to the spawning thread, so a thread that ends stands for a parent that dies.
    let spawner = SpawnOnThread()
    let pid = try spawner.run()
    let pidfd = Descriptor(owning: spawner.pidfd)
    // Polls as readable once the child is dead: waits for the condition, not for a time.
    #expect(bh_poll(pidfd.raw, 1, 10_000) > 0, "process \(pid) outlived its parent")
    var code: Int32 = 0
    var status: Int32 = 0
    #expect(bh_wait(pidfd.raw, 1, &code, &status) == 1)
    #expect(status == SIGKILL)
  }

  @Test(.enabled(if: geteuid() == 0)) func anUnprivilegedParentGetsItsNamespacesToo() throws {
    // Probing as another user needs a process of its own: the kernel's ids belong to threads.
    let outcome = UnprivilegedThread.run { () throws(SystemError) in
      var request = SpawnRequest(
        executable: "/bin/cat", arguments: ["cat", "/proc/self/uid_map"], descriptors: [0, 1, 2])
      request.namespaces = .all
      return try Shell.output(request)
    }
    let (text, layers) = try outcome.get()
    #expect(text.split(separator: "\n").map { $0.split(separator: " ").joined(separator: " ") } == ["0 1000 1"])
    for layer in layers where ![.cgroup, .oomScore].contains(layer.layer) {
      #expect(layer.holds, "\(layer.layer): \(layer.why)")
    }
  }
}
