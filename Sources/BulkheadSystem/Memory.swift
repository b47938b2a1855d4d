import CBulkheadSys

/// Anonymous memory with a descriptor, so that processes can share it.
public struct Memfd: ~Copyable, Sendable {
  /// The memfd.
  public let descriptor: Descriptor
  /// Bytes; sealed, so that it never changes.
  public let size: Int

  private init(owning raw: Int32, size: Int) {
    descriptor = Descriptor(owning: raw)
    self.size = size
  }

  /// Memory of zeros to be shared: it can be written, but never shrunk or grown, or the other side would die of SIGBUS.
  ///
  /// - Throws: `SystemError` where there is no memory or descriptor for it.
  public static func shared(name: String, size: Int) throws(SystemError) -> Memfd {
    let raw = try Funnel.descriptor("make shared memory", on: name) {
      bh_memfd(name, UInt64(clamping: size), BH_SEAL_SHRINK | BH_SEAL_GROW | BH_SEAL_SEAL)
    }
    return Memfd(owning: raw, size: size)
  }

  /// A message that nobody can change any more: sealed against writing too.
  ///
  /// - Throws: `SystemError` where there is no memory or descriptor for it.
  public static func message(name: String, _ bytes: [UInt8]) throws(SystemError) -> Memfd {
    let memory = Memfd(
      owning: try Funnel.descriptor("make a sealed message", on: name) { bh_memfd(name, 0, 0) }, size: bytes.count)
    let raw = memory.descriptor.raw
    try bytes.withRawBytes { (buffer) throws(SystemError) in try RawDescriptor.writeAll(raw, buffer) }
    try Funnel.call("seal", on: name) {
      bh_seal(raw, BH_SEAL_SHRINK | BH_SEAL_GROW | BH_SEAL_WRITE | BH_SEAL_SEAL)
    }
    return memory
  }

  /// A record that is too large for a datagram to journald.
  ///
  /// - Throws: `SystemError` where there is no memory or descriptor for it.
  static func journalEntry(_ bytes: [UInt8]) throws(SystemError) -> Descriptor {
    let descriptor = Descriptor(
      owning: try Funnel.descriptor("make memory", on: "journal-entry") { bh_journal_memfd("journal-entry") })
    let raw = descriptor.raw
    try bytes.withRawBytes { (buffer) throws(SystemError) in try RawDescriptor.writeAll(raw, buffer) }
    try Funnel.call("seal", on: "journal-entry") { bh_seal(raw, BH_SEAL_SHRINK | BH_SEAL_GROW | BH_SEAL_WRITE) }
    return descriptor
  }

  /// Memory of no size that grows as it is written, for what only a descriptor can receive.
  ///
  /// - Throws: `SystemError` where there is no descriptor for it.
  public static func scratch(name: String) throws(SystemError) -> Descriptor {
    Descriptor(owning: try Funnel.descriptor("make memory", on: name) { bh_memfd(name, 0, 0) })
  }

  /// Seals memory that grew as it was written: from now on nobody can change it.
  ///
  /// - Throws: `SystemError`; EBUSY where somebody has mapped it for writing.
  public static func seal(_ raw: Int32) throws(SystemError) {
    try Funnel.call("seal", on: "descriptor \(raw)") {
      bh_seal(raw, BH_SEAL_SHRINK | BH_SEAL_GROW | BH_SEAL_WRITE | BH_SEAL_SEAL)
    }
  }

  /// The bytes behind a descriptor.
  ///
  /// - Throws: `SystemError` where it cannot be asked.
  public static func size(_ raw: Int32) throws(SystemError) -> Int64 {
    try Funnel.call("ask for the size of", on: "descriptor \(raw)") { bh_file_size(raw) }
  }

  /// The descriptor alone.
  public consuming func takeDescriptor() -> Descriptor { descriptor }

  /// Fails unless the memory behind a descriptor that came from elsewhere has at least `size` bytes and can never
  /// shrink: what is mapped from a peer must not vanish under us.
  ///
  /// - Throws: `SystemError`: EINVAL where it is no sealable memory, EPERM where the seal is missing, EFBIG where it is
  ///   too small.
  public static func verify(_ raw: Int32, size: Int) throws(SystemError) {
    let subject = "descriptor \(raw)"
    let seals = try Funnel.call("read the seals of", on: subject) { bh_seals(raw) }
    guard Int32(truncatingIfNeeded: seals) & BH_SEAL_SHRINK != 0 else {
      throw SystemError(
        operation: "share", subject: subject, code: Errno.notPermitted, advice: "it is not sealed against shrinking")
    }
    let actual = try Funnel.call("ask for the size of", on: subject) { bh_file_size(raw) }
    guard actual >= Int64(clamping: size) else {
      throw SystemError(
        operation: "share", subject: subject, code: 27, advice: "it has \(actual) bytes, \(size) are needed")
    }
  }
}

/// The owner of a shared mapping: unmapped exactly once.
///
/// The memory is shared with other processes: whoever reads what a peer can write treats it as hostile.
public struct Mapping: ~Copyable {
  /// Page-aligned; valid as long as the owner lives.
  public let base: UnsafeMutableRawPointer
  /// Bytes.
  public let size: Int

  /// Maps the first `size` bytes of the descriptor, shared.
  ///
  /// - Throws: `SystemError` where it cannot be mapped; EINVAL for a size that is not positive.
  public init(_ raw: Int32, size: Int, writable: Bool) throws(SystemError) {
    var address: UnsafeMutableRawPointer?
    try Funnel.call("map", on: "descriptor \(raw)") {
      bh_map(raw, max(size, 0), writable ? 1 : 0, &address)
    }
    guard let address else { throw SystemError(operation: "map", subject: "descriptor \(raw)", code: Errno.invalid) }
    base = address
    self.size = size
  }

  deinit { _ = bh_unmap(base, size) }

  /// Gives the memory away; it stays mapped until the process ends.
  public consuming func leak() -> UnsafeMutableRawPointer {
    let address = base
    discard self
    return address
  }
}
