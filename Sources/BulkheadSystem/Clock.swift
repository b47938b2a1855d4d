import CBulkheadSys
import Glibc

/// The clocks of the system, in nanoseconds.
public enum Clock {
  /// Time that never jumps, since boot: for deadlines and durations.
  @inline(__always)
  public static var monotonicNanoseconds: UInt64 { bh_monotonic_nanoseconds() }

  /// Time since 1970-01-01 UTC, as the system has it.
  @inline(__always)
  public static var realtimeNanoseconds: UInt64 { bh_realtime_nanoseconds() }

  /// The kernel's own bound (PID_MAX_LIMIT).
  private static let maximumPID: Int32 = 1 << 22

  /// The processor time that a process has used so far; nil where there is no such process.
  public static func processorNanoseconds(of pid: Int32) -> UInt64? {
    var clock: clockid_t = 0
    var time = timespec()
    // The number of a process is a part of its clock's: one that is larger than any would be another clock's.
    guard pid > 0, pid <= maximumPID, clock_getcpuclockid(pid, &clock) == 0, clock_gettime(clock, &time) == 0 else {
      return nil
    }
    return UInt64(clamping: time.tv_sec) &* 1_000_000_000 &+ UInt64(clamping: time.tv_nsec)
  }
}
