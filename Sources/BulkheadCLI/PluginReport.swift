import BulkheadControl
import BulkheadCore

/// All that is known of one plugin's workers: what `bulkheadctl workers NAME` shows.
struct PluginReport: Encodable {
  var workers: [WorkerInfo]
  /// Null where no front serves.
  var statistics: StatisticsResponse.Plugin?
  /// Over the time between two looks; null where they cannot be compared.
  var callbacksPerSecond: Double?
  var failedStreamsPerSecond: Double?
  /// How the last worker that is gone came to its end; null where none has.
  var lastExit: PluginInfo.LastExit?

  /// - Parameters:
  ///   - before: of the same front, so many seconds earlier.
  init(
    workers: [WorkerInfo], lastExit: PluginInfo.LastExit?, statistics: StatisticsResponse.Plugin?,
    before: StatisticsResponse.Plugin?, seconds: Double
  ) {
    self.workers = workers
    self.lastExit = lastExit
    self.statistics = statistics
    guard let statistics, let before else { return }
    callbacksPerSecond = Self.rate(before.callbacks, statistics.callbacks, seconds)
    failedStreamsPerSecond = Self.rate(before.failedStreams, statistics.failedStreams, seconds)
  }

  /// How fast a counter went; nil where it began anew.
  static func rate(_ before: UInt64, _ after: UInt64, _ seconds: Double) -> Double? {
    after >= before && seconds > 0 ? Double(after - before) / seconds : nil
  }
}

extension View {
  func show(_ report: PluginReport) throws(ControlFailure) -> String {
    if format == .json { return try json(report) }
    var parts = [try show(WorkersResponse(workers: report.workers))]
    if let deadlines = report.workers.first?.deadlines {
      let named = [
        ("headers", deadlines.headers), ("body", deadlines.body), ("log", deadlines.log), ("tick", deadlines.tick),
        ("configure", deadlines.configure), ("start", deadlines.start),
      ]
      parts.append("deadlines: " + named.map { "\($0.0) \(Reading.time($0.1 / 1_000))" }.joined(separator: ", "))
    }
    if let exit = report.lastExit {
      let head = "last end, \(exit.at): \(exit.reason.rawValue): \(exit.detail)"
      parts.append(([Table.printable(head)] + (exit.crash.map(core) ?? []).map { "    \($0)" }).joined(separator: "\n"))
    }
    guard let statistics = report.statistics else {
      return (parts + ["no front serves: nothing is measured"]).joined(separator: "\n\n")
    }
    parts.append(
      "callbacks/s \(Reading.rate(report.callbacksPerSecond)), failed streams/s "
        + "\(Reading.rate(report.failedStreamsPerSecond)), failed in all \(statistics.failedStreams), "
        + "waiting \(statistics.waitingStreams)")
    if !statistics.channels.isEmpty { parts.append(channels(statistics.channels, report.workers)) }
    if !statistics.latencies.isEmpty { parts.append(latencies(statistics.latencies)) }
    return parts.joined(separator: "\n\n")
  }

  private func channels(_ channels: [StatisticsResponse.Channel], _ workers: [WorkerInfo]) -> String {
    var table = Table(columns: [
      ("PID", .right), ("OUTSTANDING", .right), ("CALLBACK RING", .right), ("REPLY RING", .right),
      ("GUEST MEMORY", .right),
    ])
    table.rows = channels.map { channel in
      [
        .init("\(channel.pid)"), .init("\(channel.outstanding)"),
        .init(Reading.share(channel.callbackRingBytes, of: channel.callbackRingCapacity)),
        .init(Reading.share(channel.replyRingBytes, of: channel.replyRingCapacity)),
        .init(Reading.bytes(workers.first { $0.pid == channel.pid }?.memoryBytes)),
      ]
    }
    return table.rendered(coloured: coloured)
  }

  private func latencies(_ latencies: [StatisticsResponse.Latency]) -> String {
    var table = Table(columns: [
      ("CALLBACK", .left), ("COUNT", .right), ("MEAN", .right), ("P50", .right), ("P90", .right), ("P99", .right),
    ])
    table.rows = latencies.map { latency in
      [
        .init(latency.callback), .init("\(latency.count)"),
        .init(Reading.time(latency.count > 0 ? latency.sumSeconds / Double(latency.count) : nil)),
        .init(Reading.time(latency.p50Seconds)), .init(Reading.time(latency.p90Seconds)),
        .init(Reading.time(latency.p99Seconds)),
      ]
    }
    return table.rendered(coloured: coloured)
  }
}
