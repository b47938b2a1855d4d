/// Where the control groups of a process are, by the texts of `/proc/self/cgroup` and `/proc/self/mountinfo`.
///
/// Version 2 is one hierarchy for all controllers, version 1 one for each; machines that have both bind each controller to
/// one of them.
struct ControlGroupMounts: Equatable {
  /// The directory of the own group in version 2; nil where it is not mounted, or the group is not below the mount.
  var unified: String?
  /// The same in version 1, by controller.
  var legacy: [ControlGroupController: String] = [:]

  init(groups: String, mounts: String) {
    let mounted = mounts.split(separator: "\n").compactMap(Mount.init)
    for line in groups.split(separator: "\n") {
      // hierarchy-ID:controllers:path
      let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard fields.count == 3 else { continue }
      let names = fields[1].split(separator: ",")
      if fields[0] == "0", names.isEmpty {
        unified = mounted.lazy.filter { $0.type == "cgroup2" }.compactMap { $0.directory(of: fields[2]) }.first
        continue
      }
      for controller in ControlGroupController.allCases where names.contains(Substring(controller.rawValue)) {
        legacy[controller] =
          mounted.lazy.filter { $0.type == "cgroup" && $0.options.contains(Substring(controller.rawValue)) }
          .compactMap { $0.directory(of: fields[2]) }.first
      }
    }
  }

  /// One line of `mountinfo`.
  private struct Mount {
    var root: String
    var point: String
    var type: Substring
    var options: [Substring]

    init?(_ line: Substring) {
      // ID parent major:minor root point options [optional ...] - type source options
      let fields = line.split(separator: " ")
      guard fields.count > 6, let dash = fields.dropFirst(6).firstIndex(of: "-"), fields.count > dash + 3 else {
        return nil
      }
      root = Self.unescaped(fields[3])
      point = Self.unescaped(fields[4])
      type = fields[dash + 1]
      options = fields[dash + 3].split(separator: ",")
    }

    /// The directory of a group of this hierarchy; nil where this mount does not show it.
    func directory(of path: Substring) -> String? {
      if root == "/" { return path == "/" ? point : point + path }
      guard path == root || path.hasPrefix(root + "/") else { return nil }
      return point + path.dropFirst(root.count)
    }

    /// Space, tab, newline and backslash are written as a backslash and three octal digits.
    private static func unescaped(_ text: Substring) -> String {
      guard text.contains("\\") else { return String(text) }
      var bytes: [UInt8] = []
      var rest = text.utf8[...]
      while let byte = rest.popFirst() {
        let digits = rest.prefix(3)
        if byte == UInt8(ascii: "\\"), digits.count == 3, let value = UInt8(String(digits) ?? "", radix: 8) {
          bytes.append(value)
          rest = rest.dropFirst(3)
        } else {
          bytes.append(byte)
        }
      }
      return String(decoding: bytes, as: UTF8.self)
    }
  }
}

/// What a control group bounds.
enum ControlGroupController: String, CaseIterable, Sendable {
  case memory, cpu
}
