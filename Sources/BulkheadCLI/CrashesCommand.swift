import ArgumentParser
import BulkheadControl

/// `bulkheadctl crashes`: which kinds of crashes there were, and how many of each.
struct CrashesCommand: FormattedSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "crashes",
    abstract: "Lists kinds of crashes with their counts: one line for all with the same reason, callback and frames.",
    discussion: "With a name also an example of each, with its request and its backtrace.")

  @ParentCommand var parent: BulkheadControlCommand
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions
  @Argument(help: ArgumentHelp("Only crashes of this plugin.", valueName: "name"), completion: .pluginNames)
  var plugin: String?

  func answer(_ client: ControlClient, _ view: View) async throws(ControlFailure) -> String {
    try view.show(await client.get(CrashesResponse.self, ControlPaths.crashes(plugin: plugin)))
  }
}

extension View {
  /// The kinds of crashes in a table, and below it the examples that the answer has.
  func show(_ response: CrashesResponse) throws(ControlFailure) -> String {
    if format == .json { return try json(response) }
    guard !response.crashes.isEmpty else { return "no crashes since \(response.since)" }
    var table = Table(columns: [
      ("PLUGIN", .left), ("COUNT", .right), ("FIRST", .right), ("LAST", .right), ("REASON", .left), ("CALLBACK", .left),
      ("TOP FRAME", .left),
    ])
    table.rows = response.crashes.map { crash in
      [
        .init(crash.plugin), .init("\(crash.count)"), .init(age(crash.first)), .init(age(crash.last)),
        .init(crash.reason.rawValue), .init(crash.callback ?? "-"), .init(crash.frames.first ?? "-"),
      ]
    }
    var parts = [table.rendered(coloured: coloured)]
    if response.leftOut > 0 { parts.append("\(response.leftOut) kinds more: ask for one plugin") }
    if response.evicted > 0 { parts.append("\(response.evicted) kinds are not kept any more") }
    parts += response.crashes.compactMap(example)
    return parts.joined(separator: "\n\n")
  }

  /// One crash of the kind.
  private func example(_ crash: CrashesResponse.Crash) -> String? {
    guard let example = crash.example else { return nil }
    let process = example.pid.map { ", pid \($0)" } ?? ""
    let head = "\(crash.count) times \(crash.reason.rawValue), as at \(crash.last)\(process): \(example.detail)"
    return ([Table.printable(head)] + core(example.crash).map { "    \($0)" }).joined(separator: "\n")
  }

  func age(_ time: Timestamp) -> String {
    Self.span(Double(max(0, now.milliseconds.subtractingReportingOverflow(time.milliseconds).partialValue)) / 1_000)
      + " ago"
  }
}
