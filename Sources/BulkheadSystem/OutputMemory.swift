import CBulkheadSys

/// Memory of any size that a process which is not trusted writes its result into. Once that process is gone, sealing
/// proves that nobody can write there any more.
public struct OutputMemory: ~Copyable, Sendable {
  /// The memfd that a child writes to.
  public let descriptor: Descriptor

  /// - Throws: `SystemError` where there is no memory or descriptor for it.
  public init(name: String) throws(SystemError) {
    descriptor = Descriptor(owning: try Funnel.descriptor("make memory for", on: name) { bh_memfd(name, 0, 0) })
  }

  /// Seals it against every change and gives it away.
  ///
  /// - Throws: `SystemError`: EBUSY where somebody has it mapped for writing still.
  public consuming func sealed() throws(SystemError) -> Descriptor {
    let raw = descriptor.raw
    try Funnel.call("seal the output in", on: "descriptor \(raw)") {
      bh_seal(raw, BH_SEAL_SHRINK | BH_SEAL_GROW | BH_SEAL_WRITE | BH_SEAL_SEAL)
    }
    return descriptor
  }
}
