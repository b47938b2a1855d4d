import BulkheadSystem

/// The host's user ids that workers run as where the supervisor is root.
///
/// Each plugin has its own: what the kernel counts by user (pipe buffers, pending signals, processes) and what it lets
/// one process of a user do to another never joins two plugins. They come from a range that no distribution, container
/// manager or directory allocates (systemd's table of ids calls 1879048192 to 2147352575 unused), so that no file is
/// anybody's, and depend on the plugin's name alone, so that they survive restarts.
enum HostIdentity {
  static let first: UInt32 = 1_900_000_000
  static let count: UInt32 = 1_000_000
  /// The front's, beside those of the workers.
  static let front: UInt32 = first + count
  /// Where this process's own user namespace does not have that range (a container): nobody, for all.
  static let fallback: UInt32 = 65_534

  /// The id of each name, in their order; all differ.
  ///
  /// - Parameter ids: those that some names have already, which nobody else gets.
  static func assign(_ names: [String], uidMap: String, keeping ids: [String: UInt32] = [:]) -> [UInt32] {
    guard covers(uidMap, first..<(first + count + 1)) else { return names.map { _ in fallback } }
    var taken = Set(ids.values.filter { $0 >= first }.map { $0 - first })
    return names.map { name in
      if let id = ids[name] { return id }
      // FNV-1a.
      var offset = name.utf8.reduce(UInt32(2_166_136_261)) { ($0 ^ UInt32($1)) &* 16_777_619 } % count
      while !taken.insert(offset).inserted { offset = (offset + 1) % count }
      return first + offset
    }
  }

  /// The front's id, or the fallback.
  static func front(uidMap: String) -> UInt32 {
    covers(uidMap, first..<(first + count + 1)) ? front : fallback
  }

  /// Whether the text of a `/proc/PID/uid_map` has all of those ids, on one line.
  static func covers(_ uidMap: String, _ range: Range<UInt32>) -> Bool {
    uidMap.split(separator: "\n").contains { line in
      let fields = line.split(separator: " ").compactMap { UInt64($0) }
      guard fields.count == 3 else { return false }
      return UInt64(range.lowerBound) >= fields[0] && UInt64(range.upperBound) - fields[0] <= fields[2]
    }
  }
}
