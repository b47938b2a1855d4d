import BulkheadControl
import BulkheadCore

/// Makes text of answers.
struct View {
  var now: Timestamp
  var coloured: Bool
  var format: OutputFormat
  /// Somebody looks at a screen of some width: what is long is cut there.
  var isCut = false

  /// The longest text of a last exit in a table, in characters.
  private static let longestDetail = 60

  func show(_ status: StatusResponse) throws(ControlFailure) -> String {
    if format == .json { return try json(status) }
    let state = Table.painted(
      .init(status.state.rawValue, colour: status.state == .running ? .green : .yellow), coloured)
    let front = Table.painted(
      .init(status.front.state.rawValue, colour: status.front.state == .ready ? .green : .yellow), coloured)
    let counts = status.counts
    let others = [("starting", counts.starting), ("backoff", counts.backoff), ("quarantined", counts.quarantined)]
      .filter { $0.1 > 0 }.map { ", \($0.1) \($0.0)" }.joined()
    var listeners = Table(columns: [("LISTENER", .left), ("ADDRESS", .left), ("UPSTREAM", .left)])
    listeners.rows = status.listeners.map { [.init($0.name), .init($0.address), .init($0.upstream)] }
    let frontPid = status.front.pid.map { "pid \($0)" } ?? "no process"
    let layers = status.front.isolation
    let isolation = layers.isEmpty ? "" : ", isolation \(layers.count(where: \.holds))/\(layers.count)"
    let missing = layers.filter { !$0.holds }
      .map { "\n" + Table.printable("front: without \($0.layer.rawValue): \($0.why)") }.joined()
    return """
      bulkheadd \(Table.printable(status.version)): \(state), pid \(status.pid), up \(Self.span(status.uptimeSeconds))\(usage(status.usage))\(loop(status.loop))
      front: \(front), \(frontPid), \(Self.count(status.front.restarts, "restart"))\(usage(status.front.usage))\(isolation)\(missing)\(upgradeLine(status))
      plugins: \(counts.ready) of \(counts.plugins) ready\(others); \(Self.count(UInt64(clamping: counts.workers), "worker"))\(adminLine(status))

      \(listeners.rendered(coloured: coloured))
      """
  }

  /// What a process has used, for the end of its line.
  private func usage(_ usage: StatusResponse.Usage?) -> String {
    usage.map { ", cpu \(Reading.time($0.cpuSeconds)), memory \(ByteCount(bytes: $0.residentBytes))" } ?? ""
  }

  /// How long the supervisor is busy with one thing, for the end of its line.
  private func loop(_ loop: StatusResponse.Loop?) -> String {
    guard let loop, loop.rounds > 0 else { return "" }
    return ", busy for \(Reading.time(loop.p50Seconds)) at a time, at most \(Reading.time(loop.longestSeconds))"
  }

  /// Where monitoring may ask, on a line of its own.
  private func adminLine(_ status: StatusResponse) -> String {
    status.admin.map { "\nadmin: http://\(Table.printable($0))/metrics" } ?? ""
  }

  /// What there is to know of the last upgrade, on a line of its own; nothing once it is done.
  private func upgradeLine(_ status: StatusResponse) -> String {
    guard let upgrade = status.upgrade, upgrade.state != .done else { return "" }
    let state = Table.painted(
      .init(upgrade.state.rawValue, colour: upgrade.state == .failed ? .red : .yellow), coloured)
    let old = upgrade.oldFronts.map(String.init).joined(separator: ", ")
    return "\nupgrade \(upgrade.number): \(state)" + (old.isEmpty ? "" : ", old front pid \(old)")
      + (upgrade.detail.isEmpty ? "" : ": \(Table.printable(upgrade.detail))")
  }

  func show(_ upgrade: UpgradeInfo, version: String) throws(ControlFailure) -> String {
    if format == .json { return try json(upgrade) }
    let rest =
      upgrade.oldFronts.isEmpty
      ? "" : "; the old front (pid \(upgrade.oldFronts.map(String.init).joined(separator: ", "))) finishes what it has"
    return Table.printable("upgraded from version \(upgrade.from) to \(version)\(rest)")
  }

  func show(_ response: PluginsResponse) throws(ControlFailure) -> String {
    if format == .json { return try json(response) }
    guard !response.plugins.isEmpty else { return "no plugins" }
    var table = Table(columns: [
      ("NAME", .left), ("TYPE", .left), ("STATE", .left), ("PHASE", .left), ("PRIORITY", .right), ("ON FAILURE", .left),
      ("POLICY", .left), ("RESTARTS", .right), ("WORKERS", .left), ("LAST EXIT", .left),
    ])
    table.rows = response.plugins.map { plugin in
      [
        .init(plugin.name), .init(plugin.type), Self.cell(plugin.state), .init(plugin.phase),
        .init("\(plugin.priority)"),
        .init(plugin.failStrategy.rawValue), .init(plugin.policy), .init("\(plugin.restarts)"),
        .init(plugin.workers.isEmpty ? "-" : plugin.workers.map(String.init).joined(separator: ",")),
        .init(plugin.lastExit.map(text) ?? "-"),
      ]
    }
    let budgets = response.plugins.compactMap(Self.budget)
    return ([table.rendered(coloured: coloured)] + (budgets.isEmpty ? [] : [""] + budgets)).joined(separator: "\n")
  }

  func show(_ plugin: PluginInfo, done: String) throws(ControlFailure) -> String {
    if format == .json { return try json(plugin) }
    return "plugin \(Table.printable(plugin.name)) \(done): now \(Table.painted(Self.cell(plugin.state), coloured))"
  }

  func show(_ response: ReloadResponse) throws(ControlFailure) -> String {
    if format == .json { return try json(response) }
    let groups = [
      ("added", response.added), ("changed", response.changed), ("removed", response.removed),
      ("unchanged", response.unchanged),
    ]
    let lines = groups.filter { !$0.1.isEmpty }.map {
      "  \($0.0): \($0.1.map(Table.printable).joined(separator: ", "))"
    }
    let order = response.isReordered ? ["  unchanged plugins stand in another order"] : []
    let warnings = response.warnings.map { "  warning: \(Table.printable($0))" }
    let isCheck = response.isCheck == true
    let isEmpty =
      response.added.isEmpty && response.changed.isEmpty && response.removed.isEmpty && !response.isReordered
    let head =
      isCheck
      ? isEmpty ? "a reload would change nothing" : "a reload would change this; nothing was changed"
      : "reloaded in \(Self.tenths(response.milliseconds)) ms"
    return ([head] + lines + order + warnings).joined(separator: "\n")
  }

  func show(_ response: WorkersResponse) throws(ControlFailure) -> String {
    if format == .json { return try json(response) }
    guard !response.workers.isEmpty else { return "no workers" }
    var table = Table(columns: [
      ("PLUGIN", .left), ("PID", .right), ("STATE", .left), ("ROLE", .left), ("UPTIME", .right), ("CALLBACKS", .right),
      ("PSS", .right), ("ISOLATION", .left), ("RUNNING", .left),
    ])
    table.rows = response.workers.map { worker in
      let holding = worker.isolation.count(where: \.holds)
      let isWhole = holding == worker.isolation.count && holding > 0
      return [
        .init(worker.plugin), .init("\(worker.pid)"),
        .init(worker.state.rawValue, colour: worker.state == .ready ? .green : .yellow),
        .init(worker.oldFront == nil ? worker.role?.rawValue ?? "-" : "old"),
        .init(Self.span(worker.uptimeSeconds)), .init("\(worker.callbacks)"),
        .init(worker.pssBytes.map { "\(ByteCount(bytes: $0))" } ?? "-"),
        worker.oldFront == nil
          ? .init("\(holding)/\(worker.isolation.count)", colour: isWhole ? .green : .yellow) : .init("-"),
        .init(worker.currentCallback.map(running) ?? "-"),
      ]
    }
    let missing = missingLayers(response.workers) + wordLayers(response.workers)
    return ([table.rendered(coloured: coloured)] + (missing.isEmpty ? [] : [""] + missing)).joined(separator: "\n")
  }

  private func running(_ callback: WorkerInfo.CurrentCallback) -> String {
    "\(callback.name) for \(Self.tenths(callback.milliseconds)) ms"
      + (callback.stream.map { ", stream \($0)" } ?? "")
  }

  /// One line for each layer that some worker lacks: workers of one machine mostly lack the same for the same reason.
  private func missingLayers(_ workers: [WorkerInfo]) -> [String] {
    var lines: [String] = []
    for layer in IsolationLayer.allCases {
      let lacking = workers.compactMap { worker in
        worker.isolation.first { $0.layer == layer && !$0.holds }.map { (worker, $0.why) }
      }
      guard let (first, why) = lacking.first else { continue }
      let who =
        lacking.count == workers.count
        ? "all workers" : lacking.count == 1 ? "\(first.plugin)" : "\(lacking.count) workers"
      lines.append(Table.printable("\(who): without \(layer.rawValue): \(why)"))
    }
    return lines
  }

  /// The layers that nobody has seen from outside: those of a worker that has been taken over may be a lie.
  private func wordLayers(_ workers: [WorkerInfo]) -> [String] {
    let layers = IsolationLayer.allCases.filter { layer in
      workers.contains { worker in
        worker.state == .ready && worker.oldFront == nil
          && worker.isolation.contains { $0.layer == layer && $0.holds && $0.evidence == .word }
      }
    }
    return layers.isEmpty ? [] : ["by the workers' word alone: \(layers.map(\.rawValue).joined(separator: ", "))"]
  }

  private func text(_ exit: PluginInfo.LastExit) -> String {
    let ago = Self.span(
      Double(max(0, now.milliseconds.subtractingReportingOverflow(exit.at.milliseconds).partialValue)) / 1_000)
    let firstLine = exit.detail.split(whereSeparator: \.isNewline).first ?? ""
    let detail =
      isCut && firstLine.count > Self.longestDetail ? firstLine.prefix(Self.longestDetail - 3) + "..." : firstLine
    return "\(exit.reason.rawValue) \(ago) ago" + (detail.isEmpty ? "" : ": \(detail)")
  }

  func json(_ value: some Encodable) throws(ControlFailure) -> String {
    do {
      return String(decoding: try ControlJSON.encode(value, pretty: true), as: UTF8.self)
    } catch {
      throw ControlFailure(exitCode: ExitCode.software, message: "the answer cannot be written as JSON: \(error)")
    }
  }

  static func cell(_ state: PluginState) -> Table.Cell {
    switch state {
    case .ready: .init(state.rawValue, colour: .green)
    case .starting, .backoff: .init(state.rawValue, colour: .yellow)
    case .quarantined: .init(state.rawValue, colour: .red)
    }
  }

  static func count(_ number: UInt64, _ what: String) -> String { "\(number) \(what)\(number == 1 ? "" : "s")" }

  /// One digit after the point, whatever the number.
  private static func tenths(_ value: Double) -> String { Reading.tenths(value) }

  /// A span of time in its two largest units: `3d4h`, `2m5s`, `12s`.
  static func span(_ seconds: Double) -> String {
    guard seconds.isFinite, seconds >= 0, seconds < 1e15 else { return "?" }
    let whole = Int64(seconds)
    switch whole {
    case 86_400...: return "\(whole / 86_400)d\(whole % 86_400 / 3_600)h"
    case 3_600...: return "\(whole / 3_600)h\(whole % 3_600 / 60)m"
    case 60...: return "\(whole / 60)m\(whole % 60)s"
    default: return "\(whole)s"
    }
  }
}
