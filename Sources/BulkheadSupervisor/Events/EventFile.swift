import BulkheadConfig
import BulkheadCore
import BulkheadSystem
import Glibc

/// The file that events outlive this process in: one JSON object a line, at most `size` bytes, and as much again in `PATH.1`.
///
/// It is written from a thread of its own, so that a slow disk never holds the supervisor up: what the queue has no room for
/// is counted. Any thread may call it.
final class EventFile: Sendable {
  /// The most lines that wait.
  static let capacity = 8_192

  let configuration: Configuration.EventLog
  private let queue = Queue()

  /// What waits. `@unchecked`: every access is under `condition`, but for `output`, which the writing thread alone uses.
  private final class Queue: @unchecked Sendable {
    let condition = Condition()
    var lines: [String] = []
    var isReopening = false
    var isWriting = false
    var isEnded = false
    var dropped: UInt64 = 0
    var output: EventFileOutput

    init(_ output: EventFileOutput) { self.output = output }
    convenience init() { self.init(EventFileOutput(path: "", size: 0)) }
  }

  /// Opens the file, and makes it where it is not there.
  ///
  /// - Parameter complain: told on another thread what cannot be written and why, once for each reason.
  /// - Throws: `SystemError` that names the file.
  init(_ configuration: Configuration.EventLog, complain: @escaping @Sendable (String) -> Void) throws(SystemError) {
    self.configuration = configuration
    let queue = queue
    queue.output = EventFileOutput(path: configuration.path, size: Int(clamping: configuration.size.bytes))
    try queue.output.open()
    DetachedThread.run { Self.drain(queue, complain) }
  }

  deinit {
    queue.condition.lock()
    queue.isEnded = true
    queue.condition.broadcast()
    queue.condition.unlock()
  }

  /// Queues a line, without its end.
  func append(_ line: String) {
    queue.condition.lock()
    if queue.lines.count < Self.capacity {
      queue.lines.append(line)
      queue.condition.broadcast()
    } else {
      queue.dropped &+= 1
    }
    queue.condition.unlock()
  }

  /// Opens whatever is at the path from now on, as the file may have been renamed.
  func reopen() {
    queue.condition.lock()
    queue.isReopening = true
    queue.condition.broadcast()
    queue.condition.unlock()
  }

  /// Lines that were not written.
  var droppedLines: UInt64 {
    queue.condition.lock()
    defer { queue.condition.unlock() }
    return queue.dropped
  }

  /// Waits until all that was queued is written, at most that long.
  func flush(atMost limit: Duration = .seconds(1)) {
    let end = Condition.moment(after: limit)
    queue.condition.lock()
    while !queue.lines.isEmpty || queue.isWriting || queue.isReopening {
      if !queue.condition.wait(until: end) { break }
    }
    queue.condition.unlock()
  }

  private static func drain(_ queue: Queue, _ complain: (String) -> Void) {
    var said = ""
    while true {
      queue.condition.lock()
      while queue.lines.isEmpty, !queue.isReopening, !queue.isEnded { queue.condition.wait() }
      let lines = queue.lines
      let isReopening = queue.isReopening
      guard !(queue.isEnded && lines.isEmpty) else { return queue.condition.unlock() }
      queue.lines = []
      queue.isReopening = false
      queue.isWriting = true
      queue.condition.unlock()
      var why = ""
      var lost = 0
      do throws(SystemError) {
        if isReopening { try queue.output.open() }
      } catch {
        why = "\(error); they go on where they went"
      }
      for line in lines {
        do throws(SystemError) {
          try queue.output.write(line)
        } catch {
          lost += 1
          why = "\(error)"
        }
      }
      if !why.isEmpty, why != said { complain("events: \(why)") }
      said = why
      queue.condition.lock()
      queue.dropped &+= UInt64(lost)
      queue.isWriting = false
      queue.condition.broadcast()
      queue.condition.unlock()
    }
  }
}

/// The file itself, and the one before it.
struct EventFileOutput {
  let path: String
  /// In bytes; a file that is as large is put aside.
  let size: Int
  private var file: SharedDescriptor?
  private var written = 0
  /// The last write broke off within a line.
  private var isTorn = false

  init(path: String, size: Int) {
    self.path = path
    self.size = size
  }

  /// Opens what is at the path; what was open before stays so where that fails.
  ///
  /// - Throws: `SystemError` that names the file.
  mutating func open() throws(SystemError) {
    let descriptor = SharedDescriptor(try Descriptor.open(path, .append(mode: 0o640)))
    var status = stat()
    guard fstat(descriptor.raw, &status) == 0 else {
      throw SystemError(operation: "look at", subject: path, code: errno)
    }
    written = Int(status.st_size)
    file = descriptor
    // A process that was killed, or a full disk, may have left half a line.
    isTorn = status.st_mode & S_IFMT == S_IFREG && written > 0 && Self.lastByte(of: path, at: written - 1) != 0x0A
  }

  private static func lastByte(of path: String, at offset: Int) -> UInt8? {
    guard let file = try? Descriptor.open(path, .read) else { return nil }
    var byte: UInt8 = 0
    return pread(file.raw, &byte, 1, offset) == 1 ? byte : nil
  }

  /// Appends a line; puts the file aside before where it would grow beyond its size.
  ///
  /// - Throws: `SystemError` where it cannot be written: nothing, or half a line, is there then.
  mutating func write(_ line: String) throws(SystemError) {
    var bytes = Array(line.utf8)
    bytes.append(0x0A)
    if isTorn { bytes.insert(0x0A, at: 0) }
    if written > 0, written + bytes.count > size { try putAside() }
    guard let file else { throw SystemError(operation: "write to", subject: path, code: EBADF) }
    var done = 0
    while done < bytes.count {
      let count = bytes.withUnsafeBytes { Glibc.write(file.raw, $0.baseAddress.map { $0 + done }, bytes.count - done) }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else {
        let code = count < 0 ? errno : EIO
        isTorn = isTorn || done > 0
        written += done
        throw SystemError(operation: "write to", subject: path, code: code)
      }
      done += count
    }
    isTorn = false
    written += bytes.count
  }

  private mutating func putAside() throws(SystemError) {
    guard rename(path, path + ".1") == 0 else {
      throw SystemError(operation: "put aside as \(path).1", subject: path, code: errno)
    }
    try open()
  }
}
