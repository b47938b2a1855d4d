import BulkheadCore
import ProxyWasmABI

/// WASI, as far as the specification asks for it; the rest is a refusal that programs know how to take. There is no file,
/// no socket and no process to be had.
extension PluginHost {
  /// The most bytes of one `random_get`.
  static let maximumRandomBytes: UInt32 = 64 << 10
  /// The most pieces of one `fd_write`.
  static let maximumPieces: UInt32 = 1_024

  func serve(_ call: WASICall, _ a: HostcallArguments, _ memory: GuestMemory) -> WASIError {
    switch call {
    case .argsGet, .schedYield, .procExit: return .success
    case .argsSizesGet: return storePair(0, 0, a, memory)
    case .environGet: return environment(memory, a[0], a[1])
    case .environSizesGet:
      let bytes = configuration.environment.reduce(0) { $0 + $1.name.utf8.count + $1.value.utf8.count + 2 }
      return storePair(UInt32(clamping: configuration.environment.count), UInt32(clamping: bytes), a, memory)
    case .clockResGet:
      guard a[0] <= 1 else { return .notSupported }
      return memory.store64(1, at: a[1]) ? .success : .fault
    case .clockTimeGet:
      guard a[0] <= 1 else { return .notSupported }
      let now = a[0] == 0 ? services.realtimeNanoseconds() : services.monotonicNanoseconds()
      return memory.store64(now, at: a[2]) ? .success : .fault
    case .fdWrite: return write(memory, a[0], a[1], a[2], a[3])
    case .fdFdstatGet: return status(memory, a[0], a[1])
    case .fdClose, .fdAdvise, .fdAllocate, .fdDatasync, .fdSync, .fdFdstatSetFlags, .fdFdstatSetRights,
      .fdFilestatSetSize, .fdFilestatSetTimes:
      return a[0] <= 2 ? .success : .badDescriptor
    case .fdSeek, .fdTell, .fdPread, .fdPwrite: return a[0] <= 2 ? .illegalSeek : .badDescriptor
    case .fdPrestatGet, .fdPrestatDirName, .fdFilestatGet, .fdRenumber, .fdReaddir: return .badDescriptor
    case .fdRead: return a[0] == 0 ? .notImplemented : .badDescriptor
    case .pathOpen: return .noEntry
    case .pollOneoff: return memory.store32(0, at: a[3]) ? .success : .fault
    case .randomGet:
      guard a[1] <= Self.maximumRandomBytes else { return .invalid }
      guard let room = memory.mutableBytes(a[0], a[1]) else { return .fault }
      return services.fillRandom(room) ? .success : .notCapable
    case .pathCreateDirectory, .pathFilestatGet, .pathFilestatSetTimes, .pathLink, .pathReadlink,
      .pathRemoveDirectory, .pathRename, .pathSymlink, .pathUnlinkFile, .procRaise, .sockAccept, .sockRecv, .sockSend,
      .sockShutdown:
      return .notImplemented
    }
  }

  private func storePair(_ first: UInt32, _ second: UInt32, _ a: HostcallArguments, _ memory: GuestMemory) -> WASIError
  {
    memory.store32(first, at: a[0]) && memory.store32(second, at: a[1]) ? .success : .fault
  }

  private func environment(_ memory: GuestMemory, _ arrayAt: UInt32, _ bufferAt: UInt32) -> WASIError {
    var (slot, text) = (arrayAt, bufferAt)
    for variable in configuration.environment {
      let line = Array(variable.name.utf8) + [UInt8(ascii: "=")] + Array(variable.value.utf8) + [0]
      guard let size = UInt32(exactly: line.count), memory.store32(text, at: slot),
        let room = memory.mutableBytes(text, size)
      else { return .fault }
      room.copyBytes(from: line)
      // Both were inside the memory, so neither sum can come round.
      slot = slot &+ 4
      text = text &+ size
    }
    return .success
  }

  private func write(
    _ memory: GuestMemory, _ descriptor: UInt32, _ piecesAt: UInt32, _ count: UInt32, _ writtenAt: UInt32
  ) -> WASIError {
    guard descriptor == 1 || descriptor == 2 else { return .badDescriptor }
    guard count <= Self.maximumPieces else { return .invalid }
    guard memory.contains(writtenAt, 4), let pieces = memory.bytes(piecesAt, count &* 8) else { return .fault }
    var written: UInt32 = 0
    // Two rounds: nothing is logged where a later piece is not there.
    for round in 0..<2 {
      for index in 0..<Int(count) {
        let address = UInt32(littleEndian: pieces.loadUnaligned(fromByteOffset: index &* 8, as: UInt32.self))
        let size = UInt32(littleEndian: pieces.loadUnaligned(fromByteOffset: index &* 8 &+ 4, as: UInt32.self))
        guard let piece = memory.bytes(address, size) else { return .fault }
        if round == 0 {
          let (sum, overflow) = written.addingReportingOverflow(size)
          guard !overflow else { return .invalid }
          written = sum
        } else {
          // What would never be passed on is not looked at: a write of the whole memory must not take its time.
          let part = UnsafeRawBufferPointer(rebasing: piece.prefix(4 * Limits.maximumLogLine))
          output.append(part, descriptor: descriptor) { level, line in emitLog(level, line) }
        }
      }
    }
    return memory.store32(written, at: writtenAt) ? .success : .fault
  }

  /// Descriptors 0 to 2 are character devices; the two that can be written have that right.
  private func status(_ memory: GuestMemory, _ descriptor: UInt32, _ address: UInt32) -> WASIError {
    guard descriptor <= 2 else { return .badDescriptor }
    guard let room = memory.mutableBytes(address, 24) else { return .fault }
    room.initializeMemory(as: UInt8.self, repeating: 0)
    room[0] = 2
    room[8] = descriptor == 0 ? 2 : 64
    return .success
  }
}
