import CBulkheadSys

/// The owner of an open descriptor: closed exactly once, when the owner goes.
///
/// It may move between threads; one thread at a time uses it.
public struct Descriptor: ~Copyable, Sendable {
  /// The descriptor's number, valid as long as the owner lives.
  public let raw: Int32

  /// Takes over a descriptor that nobody else closes.
  public init(owning raw: Int32) { self.raw = raw }

  deinit { _ = bh_close(raw) }

  /// Gives the number away; whoever takes it closes it.
  public consuming func release() -> Int32 {
    let number = raw
    discard self
    return number
  }

  /// Another descriptor of the same open file, closed on exec.
  ///
  /// - Throws: `SystemError` where the process has no descriptor left (EMFILE).
  public borrowing func duplicate() throws(SystemError) -> Descriptor {
    let number = raw
    return Descriptor(owning: try Funnel.descriptor("duplicate a descriptor") { bh_duplicate(number) })
  }

  /// Makes reads and writes return instead of wait, or the reverse. It concerns everybody who shares the open file.
  ///
  /// - Throws: `SystemError` where the kernel refuses.
  public borrowing func setNonBlocking(_ on: Bool = true) throws(SystemError) {
    let number = raw
    try Funnel.call("make non-blocking", on: "descriptor \(number)") { bh_set_nonblocking(number, on ? 1 : 0) }
  }

  /// Reads at most as many bytes as there is room for: their number, 0 at the end of file, nil where it would wait.
  ///
  /// - Throws: `SystemError` for every other errno.
  public borrowing func read(into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int? {
    try RawDescriptor.read(raw, into: buffer)
  }

  /// Reads at an offset, without moving the file's position.
  ///
  /// - Throws: `SystemError` where the descriptor cannot be read there.
  public borrowing func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(SystemError) -> Int {
    let number = raw
    return Int(
      try Funnel.call("read", on: "descriptor \(number)") {
        bh_pread(number, buffer.baseAddress, buffer.count, Int64(clamping: offset))
      })
  }

  /// Writes at an offset, without moving the file's position: how many bytes were taken.
  ///
  /// - Throws: `SystemError` where the descriptor cannot be written there.
  public borrowing func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(SystemError) -> Int {
    let number = raw
    return Int(
      try Funnel.call("write", on: "descriptor \(number)") {
        bh_pwrite(number, bytes.baseAddress, bytes.count, Int64(clamping: offset))
      })
  }

  /// Writes at most all of the bytes: their number, nil where it would wait.
  ///
  /// - Throws: `SystemError` for every other errno, EPIPE included.
  public borrowing func write(_ bytes: UnsafeRawBufferPointer) throws(SystemError) -> Int? {
    try RawDescriptor.write(raw, bytes)
  }

  /// The size of the file behind it, in bytes.
  ///
  /// - Throws: `SystemError` where it cannot be asked.
  public borrowing func fileSize() throws(SystemError) -> UInt64 {
    let number = raw
    return UInt64(try Funnel.call("ask for the size of", on: "descriptor \(number)") { bh_file_size(number) })
  }

  /// How a file is opened.
  public enum Access: Sendable {
    /// What is there, for reading, or for writing too.
    case read
    case readWrite
    /// For writing to a file that is there.
    case write
    /// Made new for writing; fails where it exists.
    case createNew(mode: UInt32)
    /// For writing at its end, made where it is not there; never waits for the reader of a FIFO.
    case append(mode: UInt32)
    /// Neither: only to say which file is meant (`O_PATH`).
    case locate
  }

  /// Opens a file; symbolic links are followed, the descriptor is closed on exec.
  ///
  /// - Throws: `SystemError` with the path: ENOENT, EACCES, EEXIST and so on.
  public static func open(_ path: String, _ access: Access, advice: String = "") throws(SystemError) -> Descriptor {
    let (flags, mode): (Int32, UInt32) =
      switch access {
      case .read: (0, 0)
      case .readWrite: (2, 0)
      case .write: (1, 0)
      case .createNew(let mode): (1 | 0o100 | 0o200, mode)
      case .append(let mode): (1 | 0o100 | 0o2000 | 0o4000, mode)
      case .locate: (0o10000000, 0)
      }
    return Descriptor(
      owning: try Funnel.descriptor("open", on: path, advice: advice) { bh_open(path, flags, mode) })
  }
}

/// The same calls on numbers whose owner is elsewhere, such as the descriptors that a child finds at its start.
public enum RawDescriptor {
  /// Reads at most as many bytes as there is room for: their number, 0 at the end of file, nil where it would wait.
  ///
  /// - Throws: `SystemError` for every other errno.
  public static func read(_ raw: Int32, into buffer: UnsafeMutableRawBufferPointer) throws(SystemError) -> Int? {
    try Funnel.unlessWaiting("read", on: "descriptor \(raw)") { bh_read(raw, buffer.baseAddress, buffer.count) }
      .map { Int($0) }
  }

  /// Writes at most all of the bytes: their number, nil where it would wait.
  ///
  /// - Throws: `SystemError` for every other errno, EPIPE included.
  public static func write(_ raw: Int32, _ bytes: UnsafeRawBufferPointer) throws(SystemError) -> Int? {
    try Funnel.unlessWaiting("write", on: "descriptor \(raw)") { bh_write(raw, bytes.baseAddress, bytes.count) }
      .map { Int($0) }
  }

  /// Writes all of the bytes to a descriptor that blocks.
  ///
  /// - Throws: `SystemError` for the first errno, EAGAIN included.
  public static func writeAll(_ raw: Int32, _ bytes: UnsafeRawBufferPointer) throws(SystemError) {
    var rest = bytes
    while !rest.isEmpty {
      let count = try Funnel.call("write", on: "descriptor \(raw)") { bh_write(raw, rest.baseAddress, rest.count) }
      rest = UnsafeRawBufferPointer(rebasing: rest.dropFirst(Int(count)))
    }
  }

  /// Reads a file from its beginning, whatever its position, up to its end.
  ///
  /// - Throws: `SystemError`; EFBIG where there are more than `limit` bytes.
  public static func readFile(_ raw: Int32, atMost limit: Int) throws(SystemError) -> [UInt8] {
    let subject = "descriptor \(raw)"
    let size = Int(clamping: try Funnel.call("ask for the size of", on: subject) { bh_file_size(raw) })
    guard size <= limit else {
      throw SystemError(operation: "read", subject: subject, code: 27, advice: "at most \(limit) bytes are read")
    }
    var bytes = [UInt8](repeating: 0, count: size)
    var filled = 0
    while filled < size {
      let start = filled
      let count = try bytes.withMutableRawBytes { (buffer) throws(SystemError) in
        let rest = UnsafeMutableRawBufferPointer(rebasing: buffer.dropFirst(start))
        return Int(
          try Funnel.call("read", on: subject) { bh_pread(raw, rest.baseAddress, rest.count, Int64(start)) })
      }
      if count == 0 { break }
      filled += count
    }
    bytes.removeLast(size - filled)
    return bytes
  }

  /// Reads a file from its beginning, whatever its position, up to its end, by nothing but reads.
  ///
  /// - Returns: the bytes, or nil where there are more than `limit`.
  /// - Throws: `SystemError` where it cannot be read.
  public static func readAll(_ raw: Int32, atMost limit: Int) throws(SystemError) -> [UInt8]? {
    let subject = "descriptor \(raw)"
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 1 << 18)
    while true {
      let start = bytes.count
      let count = try chunk.withMutableRawBytes { (buffer) throws(SystemError) in
        Int(try Funnel.call("read", on: subject) { bh_pread(raw, buffer.baseAddress, buffer.count, Int64(start)) })
      }
      if count == 0 { return bytes }
      guard count <= limit - start else { return nil }
      bytes.append(contentsOf: chunk.prefix(count))
    }
  }

  /// Another descriptor of the same open file, closed on exec.
  ///
  /// - Throws: `SystemError` where the process has no descriptor left (EMFILE).
  public static func duplicate(_ raw: Int32) throws(SystemError) -> Descriptor {
    Descriptor(owning: try Funnel.descriptor("duplicate a descriptor") { bh_duplicate(raw) })
  }

  /// Has every descriptor from `first` on closed by the next exec of this process, but for those that are kept.
  ///
  /// - Throws: `SystemError` on kernels without close_range, or where one that is to be kept is not open.
  public static func closeOnExec(from first: Int32, keeping kept: [Int32] = []) throws(SystemError) {
    try Funnel.call("mark descriptors from", on: "\(first)") { bh_close_on_exec_from(UInt32(clamping: first)) }
    for raw in kept { try Funnel.call("keep", on: "descriptor \(raw)") { bh_close_on_exec(raw, 0) } }
  }

  /// Closes a number that the process found open at its start.
  public static func close(_ raw: Int32) { _ = bh_close(raw) }

  /// Closes `first` and all numbers over it.
  ///
  /// - Throws: `SystemError` on kernels without close_range.
  public static func closeAll(from first: Int32) throws(SystemError) {
    try Funnel.call("close descriptors from", on: "\(first)") { bh_close_from(UInt32(clamping: first)) }
  }

  /// Closes the numbers from `first` to `last`, both included.
  ///
  /// - Throws: `SystemError` on kernels without close_range.
  public static func closeAll(from first: Int32, through last: Int32) throws(SystemError) {
    guard first <= last else { return }
    try Funnel.call("close descriptors from", on: "\(first)") {
      bh_close_range(UInt32(clamping: first), UInt32(clamping: last))
    }
  }

  /// Whether the other end of a pipe is gone: no writer is left of the pipe whose read end this is.
  ///
  /// - Throws: `SystemError` where the descriptor cannot be polled; a number that is not open counts as hung up.
  public static func isHungUp(_ raw: Int32) throws(SystemError) -> Bool {
    let events = try Funnel.call("poll", on: "descriptor \(raw)") { bh_poll(raw, 0, 0) }
    // POLLERR, POLLHUP and POLLNVAL are reported whatever was asked for.
    return events & (0x8 | 0x10 | 0x20) != 0
  }
}

extension Funnel {
  @inline(__always)
  static func descriptor(
    _ operation: StaticString, on subject: @autoclosure () -> String = "", advice: @autoclosure () -> String = "",
    _ body: () -> Int64
  ) throws(SystemError) -> Int32 {
    Int32(truncatingIfNeeded: try call(operation, on: subject(), advice: advice(), body))
  }
}
