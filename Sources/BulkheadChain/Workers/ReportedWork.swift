/// How much of a plugin's work the supervisor was told of.
struct ReportedWork {
  /// Of its answered streams.
  private var streams: UInt64 = 0
  private var suspects: UInt64 = 0

  /// What it has done that was not told; it counts as told from now on.
  ///
  /// - Returns: answered streams but those of suspects, and those; nil where there is nothing to tell.
  mutating func take(_ counters: PluginCounters) -> (requests: UInt64, suspects: UInt64)? {
    let done = counters.answeredStreams &- streams
    guard done > 0 else { return nil }
    let ofSuspects = counters.answeredSuspects &- suspects
    streams = counters.answeredStreams
    suspects = counters.answeredSuspects
    return (done &- ofSuspects, ofSuspects)
  }
}
