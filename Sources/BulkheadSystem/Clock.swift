import CBulkheadSys

/// The clocks of the system, in nanoseconds.
public enum Clock {
  /// Time that never jumps, since boot: for deadlines and durations.
  @inline(__always)
  public static var monotonicNanoseconds: UInt64 { bh_monotonic_nanoseconds() }

  /// Time since 1970-01-01 UTC, as the system has it.
  @inline(__always)
  public static var realtimeNanoseconds: UInt64 { bh_realtime_nanoseconds() }
}
