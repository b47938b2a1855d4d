import ProxyWasmABI

/// The guest's run is over: it trapped, ended itself, or was interrupted. Whoever made the guest knows why.
public struct GuestStopped: Error, Sendable, Equatable {
  /// A guest that has no memory yet.
  public init() {}
}

/// What the host needs of a Wasm instance. Memory is handed over as it is, so the only dynamic calls are those that
/// cross into the guest, beside which they cost nothing.
public protocol Guest: AnyObject {
  /// The linear memory now: read it again after anything that may have run the guest.
  var memory: GuestMemory { get }

  /// Whether the guest exports the function.
  func exports(_ export: GuestExport) -> Bool

  /// Calls an exported function; arguments that it does not have are ignored.
  ///
  /// - Returns: its result, 0 where it has none or is not exported.
  /// - Throws: `GuestStopped` where the guest's run is over.
  func call(
    _ export: GuestExport, _ a: UInt32, _ b: UInt32, _ c: UInt32, _ d: UInt32, _ e: UInt32
  ) throws(GuestStopped) -> UInt32
}

/// A guest's linear memory at one moment. Every access is checked: an address is the guest's word.
///
/// It borrows the memory and must not be kept over anything that may run the guest.
public struct GuestMemory {
  private let base: UnsafeMutableRawPointer?
  /// The size in bytes.
  public let count: Int

  /// The guest's linear memory as it is now; it moves when the guest grows it.
  public init(_ bytes: UnsafeMutableRawBufferPointer) {
    base = bytes.baseAddress
    count = bytes.count
  }

  /// Where a range starts, or nil where it is not all inside. Addresses and lengths are below 2^32, so that their sum
  /// cannot overflow.
  @inline(__always)
  private func pointer(_ address: UInt32, _ length: UInt32) -> UnsafeMutableRawPointer? {
    guard Int(address) &+ Int(length) <= count, let base else { return nil }
    return base + Int(address)
  }

  /// The bytes of a range, or nil where it is not all inside.
  @inline(__always)
  public func bytes(_ address: UInt32, _ length: UInt32) -> UnsafeRawBufferPointer? {
    guard length > 0 else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    guard let start = pointer(address, length) else { return nil }
    return UnsafeRawBufferPointer(start: start, count: Int(length))
  }

  /// The bytes of a range to write, or nil where it is not all inside.
  @inline(__always)
  public func mutableBytes(_ address: UInt32, _ length: UInt32) -> UnsafeMutableRawBufferPointer? {
    guard length > 0 else { return UnsafeMutableRawBufferPointer(start: nil, count: 0) }
    guard let start = pointer(address, length) else { return nil }
    return UnsafeMutableRawBufferPointer(start: start, count: Int(length))
  }

  /// Whether a range is all inside.
  @inline(__always)
  public func contains(_ address: UInt32, _ length: UInt32) -> Bool { pointer(address, length) != nil }

  /// Writes four bytes, little-endian; false where they are not all inside.
  @inline(__always)
  public func store32(_ value: UInt32, at address: UInt32) -> Bool {
    guard let start = pointer(address, 4) else { return false }
    start.storeBytes(of: value.littleEndian, as: UInt32.self)
    return true
  }

  /// Writes eight bytes, little-endian; false where they are not all inside.
  @inline(__always)
  public func store64(_ value: UInt64, at address: UInt32) -> Bool {
    guard let start = pointer(address, 8) else { return false }
    start.storeBytes(of: value.littleEndian, as: UInt64.self)
    return true
  }
}

/// The arguments of a hostcall and the place of its result: values of 16 bytes each, as an unchecked call has them.
///
/// The linker has checked the function's type, so reading as many arguments as the signature has is in bounds.
public struct HostcallArguments {
  private let values: UnsafeMutableRawPointer

  /// The arguments and results of a host function, as the VM hands them over.
  public init(_ values: UnsafeMutableRawPointer) { self.values = values }

  @inline(__always)
  subscript(_ index: Int) -> UInt32 { values.load(fromByteOffset: index &* 16, as: UInt32.self) }

  /// An argument of 64 bits.
  func long(_ index: Int) -> UInt64 { values.load(fromByteOffset: index &* 16, as: UInt64.self) }

  @inline(__always)
  func setResult(_ value: UInt32) { values.storeBytes(of: value, as: UInt32.self) }

  /// A result of the type f64.
  func setResult(_ value: Double) { values.storeBytes(of: value.bitPattern, as: UInt64.self) }
}

/// How a hostcall ended.
public enum HostcallOutcome: Sendable, Equatable {
  /// The result is written; the guest goes on.
  case returned
  /// `proc_exit`: the guest wants to end.
  case exit(Int32)
  /// A call back into the guest (its allocator) stopped: so must the call that it was made from.
  case stopped
}
