import BulkheadCore
import BulkheadSystem
import Glibc

/// The control groups of the workers: one for each, below the supervisor's own, so that what bounds the service bounds
/// them too. It belongs to the loop's thread.
///
/// In version 2 a group that has groups for its controllers cannot have processes of its own (but for the machine's first
/// one), so the supervisor moves itself into a group `supervisor` beside those of the workers. Other processes are never
/// moved: where there are some, or the group was not delegated, there are no groups, and the layer says why.
final class ControlGroups {
  /// Where groups can be made for a controller.
  struct Hierarchy: Equatable {
    var isUnified: Bool
    var directory: String
  }

  /// What each worker's group is named, before its number; those of a supervisor that is gone are removed by it.
  static let prefix = "bulkhead-worker-"
  /// The group of the supervisor and the front in version 2; the name that `DelegateSubgroup=` is to have.
  static let ownName = "supervisor"

  /// After an upgrade there may be a group of each worker of before.
  private static let maximumLeftBehind = 65_536

  private let files: ControlGroupFiles
  /// Another supervisor of this one's kind runs beside it: the groups that it finds are not for it to remove.
  private let isGuest: Bool
  private(set) var hierarchies: [ControlGroupController: Hierarchy] = [:]
  /// Why there is none for a controller.
  private var gaps: [ControlGroupController: String] = [:]
  private var next: UInt64 = 1
  /// Groups of others that have processes in them still.
  private var leftovers: [String] = []
  /// The group to go back to, so that nothing is left behind.
  private var movedFrom: String?

  init(
    groups: String = FileSystem.readProcess("/proc/self/cgroup"), mounts: String = ControlGroups.ownMounts,
    files: ControlGroupFiles = .system, isGuest: Bool = false
  ) {
    self.files = files
    self.isGuest = isGuest
    let found = ControlGroupMounts(groups: groups, mounts: mounts)
    if let own = found.unified { useUnified(own) }
    for controller in ControlGroupController.allCases where hierarchies[controller] == nil {
      if let own = found.legacy[controller] {
        useLegacy(controller, own)
      } else if gaps[controller] == nil {
        gaps[controller] =
          found.unified.map {
            "the controller \(controller.rawValue) is not enabled for the control group \(base(of: $0)): set Delegate=yes "
              + "for the service"
          } ?? "no hierarchy with the controller \(controller.rawValue) is mounted"
      }
    }
    removeStale()
  }

  /// Removes the groups of workers that are gone and that nobody else removes: of a supervisor that was killed, or of the
  /// program before this one.
  func removeStale() {
    for directory in Set(hierarchies.values.map(\.directory)) { removeStale(in: directory) }
  }

  /// All of `/proc/self/mountinfo`, at most 1 MiB.
  static var ownMounts: String {
    guard let file = try? Descriptor.open("/proc/self/mountinfo", .read) else { return "" }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 16 << 10)
    while bytes.count < 1 << 20 {
      let count = chunk.withUnsafeMutableBytes { buffer in (try? file.read(into: buffer)) ?? 0 }
      if count == 0 { break }
      bytes.append(contentsOf: chunk.prefix(count))
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  // MARK: what is there

  /// Where the service manager has put this process into a group of that name, the one above it was delegated.
  private static func isPlaced(_ own: String) -> Bool { own.hasSuffix("/\(ownName)") }
  private func base(of own: String) -> String { Self.isPlaced(own) ? FileSystem.directory(of: own) : own }

  private func useUnified(_ own: String) {
    // In a group below, a controller is missing until it is enabled for those below.
    let base = base(of: own)
    let available = words(files.read("\(base)/cgroup.controllers"))
    // A controller that is bound to version 1 is missing here; that is looked at next.
    let wanted = ControlGroupController.allCases.filter { available.contains($0.rawValue) }
    guard !wanted.isEmpty else { return }
    var enabledHere: [ControlGroupController] = []
    do throws(SystemError) {
      let enabled = words(files.read("\(base)/cgroup.subtree_control"))
      if !Self.isPlaced(own) { try moveInto("\(own)/\(Self.ownName)", from: own) }
      for controller in wanted where !enabled.contains(controller.rawValue) {
        try files.write("+\(controller.rawValue)", "\(base)/cgroup.subtree_control")
        enabledHere.append(controller)
      }
      for controller in wanted { hierarchies[controller] = Hierarchy(isUnified: true, directory: base) }
    } catch {
      for controller in enabledHere {
        try? files.write("-\(controller.rawValue)", "\(base)/cgroup.subtree_control")
      }
      moveBack()
      let advice =
        switch error.code {
        case EBUSY: "other processes are in the same control group; run it as a service of its own, with Delegate=yes"
        case EROFS: "the control groups are mounted read-only; set Delegate=yes for the service"
        default: "the control group is not delegated to this user; set Delegate=yes for the service"
        }
      for controller in wanted { gaps[controller] = "\(error): \(advice)" }
    }
  }

  private func moveInto(_ directory: String, from own: String) throws(SystemError) {
    do throws(SystemError) {
      try files.makeDirectory(directory)
    } catch {
      guard error.code == EEXIST else { throw error }
    }
    movedFrom = own
    try files.write("\(getpid())", "\(directory)/cgroup.procs")
  }

  private func moveBack() {
    guard let own = movedFrom else { return }
    movedFrom = nil
    try? files.write("\(getpid())", "\(own)/cgroup.procs")
    try? files.removeDirectory("\(own)/\(Self.ownName)")
  }

  private func useLegacy(_ controller: ControlGroupController, _ own: String) {
    // Whether groups can be made there shows only by making one.
    let probe = "\(own)/\(Self.prefix)probe-\(getpid())"
    do throws(SystemError) {
      try files.makeDirectory(probe)
      try? files.removeDirectory(probe)
      hierarchies[controller] = Hierarchy(isUnified: false, directory: own)
    } catch {
      gaps[controller] = "\(error)"
    }
  }

  /// Groups of a supervisor that was killed, or of this one before an upgrade: those with processes in them stay until
  /// these are gone.
  private func removeStale(in directory: String) {
    guard !isGuest else { return removeLeftovers() }
    leftovers += files.list(directory).filter { $0.hasPrefix(Self.prefix) }.map { "\(directory)/\($0)" }
    removeLeftovers()
  }

  private func removeLeftovers() {
    leftovers.removeAll { path in
      do throws(SystemError) {
        try files.removeDirectory(path)
        return true
      } catch {
        return error.code != EBUSY
      }
    }
  }

  private func words(_ text: String?) -> [String] {
    (text ?? "").split(whereSeparator: \.isWhitespace).map(String.init)
  }

  // MARK: groups

  /// Makes a worker's group.
  ///
  /// - Parameters:
  ///   - memory: the most memory of all kinds that it may have, in bytes.
  ///   - cpuPercent: its share of one processor; nil for no bound.
  ///   - niceness: how far it lets others have the processors first, 0 to 19.
  func make(memory: UInt64, cpuPercent: Int?, niceness: Int32 = 0) -> WorkerControlGroup {
    removeLeftovers()
    let group = WorkerControlGroup(files: files)
    group.whenBusy = { [weak self] in self?.leftovers.append($0) }
    var wanted: [ControlGroupController] = [.memory]
    if cpuPercent != nil { wanted.append(.cpu) }
    for controller in wanted {
      guard let hierarchy = hierarchies[controller] else {
        group.gaps.append("\(controller.rawValue): \(gaps[controller] ?? "there is no control group")")
        continue
      }
      do throws(SystemError) {
        let directory = try directory(in: hierarchy, of: group)
        switch controller {
        case .memory: try group.limit(memory: memory, in: directory, isUnified: hierarchy.isUnified)
        case .cpu: try group.limit(cpuPercent: cpuPercent ?? 100, in: directory, isUnified: hierarchy.isUnified)
        }
      } catch {
        group.gaps.append("\(controller.rawValue): \(error)")
      }
    }
    // In a group of its own a process is nice to nobody else.
    if niceness > 0, let hierarchy = hierarchies[.cpu], let own = existingDirectory(in: hierarchy, of: group) {
      group.giveWay(niceness, in: own, isUnified: hierarchy.isUnified)
    }
    group.open()
    return group
  }

  private func existingDirectory(in hierarchy: Hierarchy, of group: WorkerControlGroup) -> String? {
    group.directories.first { FileSystem.directory(of: $0.path) == hierarchy.directory }?.path
  }

  private func directory(in hierarchy: Hierarchy, of group: WorkerControlGroup) throws(SystemError) -> String {
    if let there = existingDirectory(in: hierarchy, of: group) { return there }
    // A number that another incarnation of this process left behind is passed over.
    for _ in 0..<Self.maximumLeftBehind {
      let path = "\(hierarchy.directory)/\(Self.prefix)\(getpid())-\(next)"
      next &+= 1
      do throws(SystemError) {
        try files.makeDirectory(path)
        group.directories.append((path, hierarchy.isUnified))
        return path
      } catch {
        guard error.code == EEXIST else { throw error }
      }
    }
    throw SystemError(operation: "make a control group in", subject: hierarchy.directory, code: EEXIST)
  }

  /// To be called when no worker is left: removes what was made.
  func leave() {
    removeStale()
    guard let own = movedFrom else { return }
    for controller in ControlGroupController.allCases where hierarchies[controller]?.isUnified == true {
      try? files.write("-\(controller.rawValue)", "\(own)/cgroup.subtree_control")
    }
    moveBack()
    hierarchies = [:]
  }
}
