import BulkheadCore
import BulkheadSystem
import Glibc

/// One worker's control group: a directory in version 2, one for each controller in version 1. It belongs to the loop's
/// thread; with it the directories go, once the worker is gone.
final class WorkerControlGroup {
  private let files: ControlGroupFiles
  var directories: [(path: String, isUnified: Bool)] = []
  /// What it bounds, and what it does not.
  private var bounds: [String] = []
  var gaps: [String] = []
  private var memoryDirectory: (path: String, isUnified: Bool)?
  /// Their `cgroup.procs`.
  private var opened: [(file: SharedDescriptor, isUnified: Bool)] = []
  private var unified: SharedDescriptor?

  /// Takes a directory that cannot be removed yet: something in it still ends.
  var whenBusy: (String) -> Void = { _ in }

  init(files: ControlGroupFiles) { self.files = files }

  deinit {
    // Closed first: nothing holds on to what is removed.
    for directory in directories {
      do throws(SystemError) {
        try files.removeDirectory(directory.path)
      } catch {
        if error.code == EBUSY { whenBusy(directory.path) }
      }
    }
  }

  /// For the spawn of the worker.
  var placement: ControlGroupPlacement {
    ControlGroupPlacement(
      directory: unified?.raw, processFiles: opened.filter(\.isUnified).map(\.file.raw),
      legacyProcessFiles: opened.filter { !$0.isUnified }.map(\.file.raw), isWhole: gaps.isEmpty,
      why: (bounds + gaps).joined(separator: "; "))
  }

  func limit(memory: UInt64, in path: String, isUnified: Bool) throws(SystemError) {
    // Whole pages, as the kernel counts.
    let bytes = memory &+ 4_095 < memory ? memory : (memory &+ 4_095) & ~4_095
    if isUnified {
      try files.write("\(bytes)", "\(path)/memory.max")
      // Not on every kernel: without swap there is nothing to bound.
      try? files.write("0", "\(path)/memory.swap.max")
      try? files.write("1", "\(path)/memory.oom.group")
    } else {
      try files.write("\(bytes)", "\(path)/memory.limit_in_bytes")
      try? files.write("\(bytes)", "\(path)/memory.memsw.limit_in_bytes")
    }
    memoryDirectory = (path, isUnified)
    bounds.append("memory \(ByteCount(bytes: bytes)) (\(isUnified ? "v2" : "v1"))")
  }

  func limit(cpuPercent: Int, in path: String, isUnified: Bool) throws(SystemError) {
    // Short periods, so that a worker over its share waits for milliseconds; the kernel takes no quota below 1 ms.
    let period = cpuPercent >= 10 ? 10_000 : 100_000
    let quota = period / 100 * cpuPercent
    if isUnified {
      try files.write("\(quota) \(period)", "\(path)/cpu.max")
    } else {
      try files.write("\(period)", "\(path)/cpu.cfs_period_us")
      try files.write("\(quota)", "\(path)/cpu.cfs_quota_us")
    }
    bounds.append("cpu \(cpuPercent) % (\(isUnified ? "v2" : "v1"))")
  }

  /// Lets other groups have the processors first, as a niceness does for processes that have no groups. No bound: a kernel
  /// that cannot is left alone.
  func giveWay(_ niceness: Int32, in path: String, isUnified: Bool) {
    if isUnified {
      try? files.write("\(niceness)", "\(path)/cpu.weight.nice")
    } else {
      // To the scheduler one step of niceness is a fifth less.
      let shares = (0..<niceness).reduce(1_024) { shares, _ in shares * 4 / 5 }
      try? files.write("\(shares)", "\(path)/cpu.shares")
    }
  }

  /// Opens what a spawn needs.
  func open() {
    for directory in directories {
      do throws(SystemError) {
        if directory.isUnified { unified = SharedDescriptor(try Descriptor.open(directory.path, .read)) }
        let file = SharedDescriptor(try Descriptor.open("\(directory.path)/cgroup.procs", .write))
        opened.append((file, directory.isUnified))
      } catch {
        gaps.append("\(error)")
      }
    }
  }

  /// Whether the kernel has killed a process of it for want of memory. To be asked before it goes.
  var wasOutOfMemory: Bool {
    guard let memoryDirectory else { return false }
    let file = memoryDirectory.isUnified ? "memory.events" : "memory.oom_control"
    for line in (files.read("\(memoryDirectory.path)/\(file)") ?? "").split(separator: "\n") {
      let fields = line.split(separator: " ")
      if fields.count == 2, fields[0] == "oom_kill" { return fields[1] != "0" }
    }
    return false
  }
}
