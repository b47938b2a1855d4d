import BulkheadCore
import BulkheadSystem
import Glibc

/// Which compiled modules the cache lets go: those that no plugin has now, and that are old or too many. Everything in the
/// cache can be made again, so what goes costs time at most.
enum CachePruning {
  /// What was not used for so long goes.
  static let keepTime = Duration.seconds(28 * 86_400)
  /// Of what is not used now, so much is kept at most, the last used first.
  static let maximumUnused: UInt64 = 1 << 30
  /// A file that is still being written is younger than that.
  private static let writingTime = 3_600
  /// An entry's last use is noted anew once it is older than that.
  private static let noteTime = 43_200

  /// One compiled module with its sidecar, or what is left of a write that was cut off.
  struct Entry: Equatable {
    /// What its files' names begin with.
    var stem: String
    var files: [String]
    var bytes: UInt64
    /// On the wall clock, in seconds.
    var lastUse: Int
    var isUnfinished = false
  }

  /// Those that are to go.
  static func superfluous(_ entries: [Entry], inUse: Set<String>, now: Int) -> [Entry] {
    let unused = entries.filter { !inUse.contains($0.stem) || $0.isUnfinished }
    var kept: UInt64 = 0
    return unused.sorted { ($0.lastUse, $0.stem) > ($1.lastUse, $1.stem) }.filter { entry in
      let age = now - entry.lastUse
      if entry.isUnfinished { return age > writingTime }
      guard age <= Int(keepTime.components.seconds) else { return true }
      let (sum, overflow) = kept.addingReportingOverflow(entry.bytes)
      guard !overflow, sum <= maximumUnused else { return true }
      kept = sum
      return false
    }
  }

  /// Removes what is to go, and notes that the others are used.
  ///
  /// - Parameter inUse: the stems of the modules that plugins have.
  /// - Returns: how many modules went, and their bytes.
  static func prune(_ directory: String, inUse: Set<String>, now: Int = time(nil)) -> (modules: Int, bytes: UInt64) {
    let entries = entries(of: directory)
    for entry in entries where inUse.contains(entry.stem) && !entry.isUnfinished && now - entry.lastUse > noteTime {
      for file in entry.files { utimensat(AT_FDCWD, "\(directory)/\(file)", nil, 0) }
    }
    var gone: (modules: Int, bytes: UInt64) = (0, 0)
    for entry in superfluous(entries, inUse: inUse, now: now) {
      // The sidecar last: without the other file it is no entry.
      let isGone = entry.files.sorted().allSatisfy { unlink("\(directory)/\($0)") == 0 }
      if isGone { gone = (gone.modules + (entry.isUnfinished ? 0 : 1), gone.bytes &+ entry.bytes) }
    }
    return gone
  }

  /// What of the directory is ours, by the names that the cache gives.
  static func entries(of directory: String) -> [Entry] {
    guard let stream = opendir(directory) else { return [] }
    defer { closedir(stream) }
    var entries: [String: Entry] = [:]
    while let found = readdir(stream) {
      let name = withUnsafeBytes(of: &found.pointee.d_name) { raw in
        String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
      }
      guard let (stem, isUnfinished) = parse(name) else { continue }
      var status = stat()
      guard lstat("\(directory)/\(name)", &status) == 0, status.st_mode & S_IFMT == S_IFREG else { continue }
      let key = isUnfinished ? name : stem
      var entry = entries[key] ?? Entry(stem: stem, files: [], bytes: 0, lastUse: 0, isUnfinished: isUnfinished)
      entry.files.append(name)
      entry.bytes &+= UInt64(clamping: status.st_size)
      entry.lastUse = max(entry.lastUse, status.st_mtim.tv_sec)
      entries[key] = entry
    }
    return Array(entries.values)
  }

  /// A file's stem, and whether its write was cut off: `DIGEST-ENGINE.cwasm`, `DIGEST-ENGINE.json`, `….PID.new`.
  static func parse(_ name: String) -> (stem: String, isUnfinished: Bool)? {
    guard Digest256(String(name.prefix(64))) != nil, name.dropFirst(64).hasPrefix("-") else { return nil }
    var rest = Substring(name)
    var isUnfinished = false
    if rest.hasSuffix(".new") {
      isUnfinished = true
      rest = rest.dropLast(4)
      let pid = rest.reversed().prefix { $0.isASCII && $0.isNumber }.count
      guard pid > 0, rest.dropLast(pid).hasSuffix(".") else { return nil }
      rest = rest.dropLast(pid + 1)
    }
    for suffix in [".cwasm", ".json"] where rest.hasSuffix(suffix) {
      return (String(rest.dropLast(suffix.count)), isUnfinished)
    }
    return nil
  }
}

/// Prunes the cache now and then, aside. It belongs to the loop's thread.
final class CachePruner {
  private static let interval = Duration.seconds(86_400)

  private let directory: String
  private let loop: EventLoop
  private let inUse: () -> Set<String>
  private let note: (LogLevel, String) -> Void
  private var work: BackgroundWork?
  private var timer: TimerQueue.Token?

  /// - Parameter inUse: the stems of the modules that plugins have when it is called.
  init(
    _ directory: String, loop: EventLoop, inUse: @escaping () -> Set<String>,
    note: @escaping (LogLevel, String) -> Void
  ) {
    self.directory = directory
    self.loop = loop
    self.inUse = inUse
    self.note = note
  }

  deinit { loop.cancel(&timer) }

  /// Prunes now, unless that is under way, and again every day.
  func prune() {
    loop.cancel(&timer)
    timer = loop.after(Self.interval) { [weak self] in
      self?.timer = nil
      self?.prune()
    }
    // Where no descriptor is left for it, the next one will do.
    guard work == nil, let work = try? BackgroundWork(loop) else { return }
    self.work = work
    let (directory, inUse) = (directory, inUse())
    work.run {
      let gone = CachePruning.prune(directory, inUse: inUse)
      return [UInt64(gone.modules), gone.bytes]
    } then: { [weak self] gone in
      guard let self else { return }
      if gone[0] > 0 {
        note(
          .info,
          "cache: \(gone[0]) compiled modules that no plugin has any more are removed (\(ByteCount(bytes: gone[1])))")
      }
      self.work = nil
    }
  }
}
