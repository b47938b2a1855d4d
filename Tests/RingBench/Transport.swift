import BulkheadRing
import CBulkheadRing
import CBulkheadSys
import Glibc

/// The ways of passing a message that are compared.
enum Transport: String, CaseIterable {
  /// Both sides sleep on a futex.
  case futex
  /// Both sides sleep in a read of a pipe.
  case pipe
  /// There by futex, back by a pipe: what the rings sleep on.
  case mixed
  /// The rings of Bulkhead, 256 bytes there and 64 back, both sides asleep in between.
  case ring
  /// A bare word in shared memory that both sides look at without ever sleeping.
  case word
  /// The rings with both sides awake.
  case awakeRing
  /// A hostcall that the front answers: 64 bytes from the worker on the ring for replies, 64 back on that for answers,
  /// both sides asleep in between.
  case hostcall
  /// The same with both sides awake.
  case awakeHostcall

  var isAwake: Bool { self == .word || self == .awakeRing || self == .awakeHostcall }

  /// Round trips a measurement; fewer where each sleeps and wakes twice.
  var messages: Int { isAwake ? 50_000 : 2_000 }
}

/// A pipe by which one process wakes the other.
struct Bell {
  let listen: Int32
  let ring: Int32
}

/// What both processes share: the memory, and a bell for each direction.
struct Shared {
  static let layout = ChannelLayout(eventLoops: 1, callbackBytes: 65_536, replyBytes: 65_536, answerBytes: 4_096)

  let memory: UnsafeMutableRawPointer
  let there: Bell
  let back: Bell

  /// The bare words lie where no ring is used at the same time.
  var thereWord: UnsafeMutableRawPointer { memory }
  var backWord: UnsafeMutableRawPointer { memory + 64 }
}

struct BenchmarkError: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

/// The number that ends a peer.
let farewell: UInt32 = .max

/// Waits until the word differs from `old`, asleep or awake.
@inline(__always)
func look(_ word: UnsafeMutableRawPointer, otherThan old: UInt32, asleep: Bool) -> UInt32 {
  while true {
    let value = bh_load_acquire(word)
    if value != old { return value }
    if asleep { bh_futex_wait(word, old, 0) } else { bh_cpu_relax() }
  }
}

@inline(__always)
func post(_ word: UnsafeMutableRawPointer, _ value: UInt32, wake: Bool) {
  bh_store_seq(word, value)
  if wake { bh_futex_wake(word) }
}

@inline(__always)
func signal(_ bell: Bell, _ value: UInt64 = 1) {
  var value = value
  _ = write(bell.ring, &value, 8)
}

/// Blocks until the bell rings, and takes its value.
@inline(__always)
func take(_ bell: Bell) -> UInt64 {
  var value: UInt64 = 0
  while read(bell.listen, &value, 8) != 8 {}
  return value
}

#if arch(arm64)
  private let setAffinity: Int64 = 122
  private let getAffinity: Int64 = 123
#else
  private let setAffinity: Int64 = 203
  private let getAffinity: Int64 = 204
#endif

/// Room for 1,024 CPUs, as the kernel counts them.
private let maskBytes = 128

/// Stays on one CPU from now on.
func pin(to cpu: Int) throws {
  var mask = [UInt8](repeating: 0, count: maskBytes)
  guard mask.indices.contains(cpu / 8) else { throw BenchmarkError("there is no CPU \(cpu)") }
  mask[cpu / 8] = 1 << UInt8(cpu % 8)
  let result = mask.withUnsafeBytes {
    bh_raw_syscall(setAffinity, 0, Int64(maskBytes), Int64(Int(bitPattern: $0.baseAddress)), 0, 0, 0)
  }
  guard result >= 0 else {
    throw BenchmarkError("cannot stay on CPU \(cpu): \(String(cString: strerror(Int32(truncatingIfNeeded: -result))))")
  }
}

/// The CPUs that this process may use.
func allowedCPUs() -> [Int] {
  var mask = [UInt8](repeating: 0, count: maskBytes)
  let result = mask.withUnsafeMutableBytes {
    bh_raw_syscall(getAffinity, 0, Int64(maskBytes), Int64(Int(bitPattern: $0.baseAddress)), 0, 0, 0)
  }
  guard result >= 0 else { return [0] }
  return (0..<maskBytes * 8).filter { mask[$0 / 8] & (1 << UInt8($0 % 8)) != 0 }
}
