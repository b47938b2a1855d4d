import ArgumentParser
import BulkheadControl
import BulkheadCore

/// `bulkheadctl suspects`: what requests look like that plugins died of, and where requests like them go.
struct SuspectsCommand: FormattedSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "suspects",
    abstract: "Lists what requests look like that plugins died of, and the lanes that requests like them go to.")

  @ParentCommand var parent: BulkheadControlCommand
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions
  @Flag(help: "Forget the suspects of the plugin, and open its lane again where that is closed.")
  var clear = false
  @Argument(help: ArgumentHelp("Only suspects of this plugin.", valueName: "name"), completion: .pluginNames)
  var plugin: String?

  func validate() throws {
    if clear, plugin == nil { throw ValidationError("--clear takes the name of a plugin") }
  }

  func answer(_ client: ControlClient, _ view: View) async throws(ControlFailure) -> String {
    if clear, let plugin {
      return try view.show(
        await client.post(PluginInfo.self, ControlPaths.clearSuspects(plugin: plugin)), done: "has no suspects any more"
      )
    }
    return try view.show(await client.get(SuspectsResponse.self, ControlPaths.suspects(plugin: plugin)))
  }
}

extension View {
  /// The fingerprints in a table, and below it a line on each lane.
  func show(_ response: SuspectsResponse) throws(ControlFailure) -> String {
    if format == .json { return try json(response) }
    var parts: [String] = []
    if response.suspects.isEmpty {
      parts.append("no suspects")
    } else {
      var table = Table(columns: [
        ("PLUGIN", .left), ("KIND", .left), ("CLIENT", .left), ("DEATHS", .right), ("MATCHES", .right),
        ("REASON", .left),
        ("LAST", .right), ("EXPIRES", .right), ("LOOKS LIKE", .left),
      ])
      table.rows = response.suspects.map { suspect in
        [
          .init(suspect.plugin), .init(suspect.kind), .init(suspect.client ?? "several"), .init("\(suspect.deaths)"),
          .init("\(suspect.matches)"), .init(suspect.reason?.rawValue ?? "-"), .init(age(suspect.last)),
          .init("in \(Self.span(suspect.expiresInSeconds))"), .init(suspect.look.isEmpty ? "-" : suspect.look),
        ]
      }
      parts.append(table.rendered(coloured: coloured))
    }
    if response.leftOut > 0 { parts.append("\(response.leftOut) more: ask for one plugin") }
    let lanes = response.lanes.map(lane)
    if !lanes.isEmpty { parts.append(lanes.joined(separator: "\n")) }
    return parts.joined(separator: "\n\n")
  }

  private func lane(_ lane: SuspectsResponse.Lane) -> String {
    let name = Table.printable(lane.plugin)
    guard let state = lane.state else { return "\(name): no lane, since no suspect came for a while" }
    let process = lane.pid.map { ", pid \($0)" } ?? ""
    let start = lane.startsInSeconds.map { ", tried again in \(Self.span($0))" } ?? ""
    let budget =
      lane.budget.map {
        "; \($0.deaths) deaths of \(Self.count($0.requests, "request")), "
          + "\(PluginInfo.Budget.percent($0.processorPercent)) % of a CPU within \(Self.span($0.intervalSeconds))"
      } ?? ""
    let closed = state == .quarantined ? "; suspects are refused: bulkheadctl suspects \(name) --clear" : ""
    return "\(name): lane \(Table.painted(Self.cell(state), coloured))\(process)\(start)\(budget)\(closed)"
  }
}
