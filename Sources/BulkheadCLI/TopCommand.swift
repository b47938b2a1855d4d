import ArgumentParser
import BulkheadControl
import BulkheadCore

/// `bulkheadctl top`: the plugins with their rates and latencies, refreshed.
struct TopCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "top", abstract: "Shows the plugins with rates, latencies and memory, again and again.",
    discussion: """
      Rates and latencies are those since the look before; the busiest plugins stand first. Interrupt it to end it. Where \
      it does not print to a terminal, the tables follow one another.
      """)

  @ParentCommand var parent: BulkheadControlCommand
  @OptionGroup var connection: ConnectionOptions
  @Option(
    name: [.customShort("d"), .long], help: ArgumentHelp("Seconds between two looks, from 0.2.", valueName: "seconds"))
  var interval = 2.0
  @Option(name: [.customShort("n"), .long], help: ArgumentHelp("End after so many tables.", valueName: "number"))
  var count: Int?

  func validate() throws {
    guard interval >= 0.2, interval <= 3_600 else { throw ValidationError("--interval takes 0.2 to 3600 seconds") }
    if let count, count < 1 { throw ValidationError("--count takes a number from 1 on") }
  }

  mutating func run() async throws {
    let terminal = Terminal()
    let path = connection.path(parent: parent.connection, environment: terminal.variable(ControlPaths.socketVariable))
    let client = ControlClient(socketPath: path)
    do {
      var before = try await TopSample.take(client)
      var left = count ?? .max
      while left > 0 {
        try await Task.sleep(for: .seconds(interval))
        let after = try await TopSample.take(client)
        let view = View(now: Terminal.now, coloured: terminal.takesColour, format: .table)
        let table = try view.show(after, since: before)
        Terminal.print(terminal.isScreen ? "\u{1B}[H\u{1B}[J" + view.cut(table, terminal.rows) : table + "\n")
        before = after
        left -= 1
      }
    } catch {
      let failure =
        error as? ControlFailure
        ?? ControlFailure(exitCode: BulkheadCore.ExitCode.software, message: "\(error)")
      Terminal.complain("bulkheadctl: \(failure.message)")
      throw ArgumentParser.ExitCode(failure.exitCode)
    }
  }
}

/// One look at everything.
struct TopSample {
  var at: ContinuousClock.Instant
  var status: StatusResponse
  var plugins: [PluginInfo]
  var workers: [WorkerInfo]
  var statistics: StatisticsResponse

  static func take(_ client: ControlClient) async throws(ControlFailure) -> TopSample {
    TopSample(
      at: ContinuousClock().now,
      status: try await client.get(StatusResponse.self, ControlPaths.status),
      plugins: try await client.get(PluginsResponse.self, ControlPaths.plugins).plugins,
      workers: try await client.get(WorkersResponse.self, ControlPaths.workers).workers,
      statistics: try await client.get(StatisticsResponse.self, ControlPaths.statistics))
  }
}

extension View {
  /// The status, and the plugins, the busiest first.
  func show(_ sample: TopSample, since before: TopSample) throws(ControlFailure) -> String {
    let (seconds, attoseconds) = (sample.at - before.at).components
    let span = Double(seconds) + Double(attoseconds) / 1e18
    var rows = sample.plugins.map { row($0, sample, before, span) }
    rows.sort { ($0.rate ?? 0) > ($1.rate ?? 0) }
    var table = Table(columns: [
      ("PLUGIN", .left), ("STATE", .left), ("WORKERS", .right), ("CB/S", .right), ("P50", .right), ("P99", .right),
      ("OUTST", .right), ("RING", .right), ("WAITING", .right), ("FAILED/S", .right), ("PSS", .right),
      ("GUEST", .right), ("RESTARTS", .right),
    ])
    table.rows = rows.map(\.cells)
    let status = StatusResponse(
      version: sample.status.version, pid: sample.status.pid, uptimeSeconds: sample.status.uptimeSeconds,
      state: sample.status.state, front: sample.status.front, listeners: [], counts: sample.status.counts)
    // The head without the list of listeners.
    let head = try show(status).split(separator: "\n").prefix(3).joined(separator: "\n")
    return head + "\n\n" + (rows.isEmpty ? "no plugins" : table.rendered(coloured: coloured))
  }

  private func row(
    _ plugin: PluginInfo, _ sample: TopSample, _ before: TopSample, _ seconds: Double
  ) -> (rate: Double?, cells: [Table.Cell]) {
    let now = sample.statistics.plugins.first { $0.plugin == plugin.name }
    // Another front counts from 0.
    let earlier =
      sample.statistics.frontPid == before.statistics.frontPid
      ? before.statistics.plugins.first { $0.plugin == plugin.name } : nil
    var rate: Double?
    var failed: Double?
    var latency = LatencyHistogram()
    if let now, let earlier {
      rate = PluginReport.rate(earlier.callbacks, now.callbacks, seconds)
      failed = PluginReport.rate(earlier.failedStreams, now.failedStreams, seconds)
      for one in now.latencies {
        let past = earlier.latencies.first { $0.callback == one.callback }?.histogram ?? LatencyHistogram()
        latency.add(one.histogram.since(past))
      }
    }
    let workers = sample.workers.filter { $0.plugin == plugin.name }
    let ring = now?.channels.max { $0.callbackRingBytes < $1.callbackRingBytes }
    return (
      rate,
      [
        .init(plugin.name), Self.cell(plugin.state),
        .init("\(workers.count { $0.state == .ready })/\(workers.count)"),
        .init(Reading.rate(rate)), .init(Reading.time(latency.quantile(0.5))),
        .init(Reading.time(latency.quantile(0.99))),
        .init(now.map { "\($0.channels.reduce(UInt64(0)) { $0 + UInt64($1.outstanding) })" } ?? "-"),
        .init(ring.map { Reading.share($0.callbackRingBytes, of: $0.callbackRingCapacity) } ?? "-"),
        .init(now.map { "\($0.waitingStreams)" } ?? "-"), .init(Reading.rate(failed)),
        .init(Reading.bytes(Self.sum(workers.map(\.pssBytes)))),
        .init(Reading.bytes(Self.sum(workers.map(\.memoryBytes)))), .init("\(plugin.restarts)"),
      ]
    )
  }

  /// Nil where none is known.
  private static func sum(_ values: [UInt64?]) -> UInt64? {
    let known = values.compactMap { $0 }
    return known.isEmpty ? nil : known.reduce(0) { $0 &+ $1 }
  }

  /// As many lines as the screen has, less the last one.
  func cut(_ text: String, _ rows: Int) -> String {
    text.split(separator: "\n", omittingEmptySubsequences: false).prefix(max(rows - 1, 5)).joined(separator: "\n")
  }
}
