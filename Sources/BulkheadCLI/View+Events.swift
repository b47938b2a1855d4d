import BulkheadControl
import BulkheadCore

extension View {
  /// Events, one a line; what is known of a crash stands indented below it. As JSON, one object a line.
  func show(_ events: [EventInfo]) throws(ControlFailure) -> String {
    if format == .json {
      var lines: [String] = []
      for event in events { lines.append(try line(event)) }
      return lines.joined(separator: "\n")
    }
    return events.flatMap(text).joined(separator: "\n")
  }

  private func text(_ event: EventInfo) -> [String] {
    var who = event.plugin.map { Table.printable($0) } ?? ""
    if let pid = event.pid { who += "[\(pid)]" }
    let kind = Table.painted(.init(Table.printable(event.kind.rawValue), colour: colour(event.kind)), coloured)
    let asker = event.by.map { "; asked for by uid \($0.uid), pid \($0.pid)" } ?? ""
    let head = "\(event.at) \(kind)\(who.isEmpty ? "" : " \(who)"): \(Table.printable(event.message))\(asker)"
    guard let crash = event.crash else { return [head] }
    return [head] + core(crash).map { "    \($0)" }
  }

  private func colour(_ kind: EventInfo.Kind) -> Table.Colour? {
    switch kind {
    case .workerReady, .frontReady, .standbyServes, .reloaded, .upgraded: .green
    case .workerCrashed, .configureFailed, .workerFailed, .budgetSpent, .quarantined, .frontEnded, .upgradeFailed,
      .reloadRefused:
      .red
    case .workerInterrupted, .workerKilled, .backoff: .yellow
    default: nil
    }
  }

  /// What a worker was at when it ended, a few lines.
  func core(_ crash: CrashInfo) -> [String] {
    var lines: [String] = []
    if let callback = crash.callback {
      var line = "in \(callback)"
      if let time = crash.callbackMilliseconds { line += " for \(Reading.tenths(time)) ms" }
      if let stream = crash.stream { line += ", stream \(stream)" }
      if let id = crash.requestID { line += ", request \(id)" }
      lines.append(Table.printable(line))
    } else {
      lines.append("in no callback")
    }
    var facts = ["\(crash.status)", "up \(Self.span(crash.uptimeSeconds))"]
    if let callbacks = crash.callbacks { facts.append("\(callbacks) callbacks run") }
    if let memory = crash.memoryBytes { facts.append("guest memory \(ByteCount(bytes: memory))") }
    lines.append(Table.printable(facts.joined(separator: ", ")))
    lines += crash.backtrace.map { "  \(Table.printable($0))" }
    return lines
  }

  private func line(_ value: some Encodable) throws(ControlFailure) -> String {
    do {
      return String(decoding: try ControlJSON.encode(value), as: UTF8.self)
    } catch {
      throw ControlFailure(exitCode: ExitCode.software, message: "an event cannot be written as JSON: \(error)")
    }
  }
}
