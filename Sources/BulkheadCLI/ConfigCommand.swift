import ArgumentParser
import BulkheadControl

/// `bulkheadctl config`: what is in force.
struct ConfigCommand: FormattedSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "config",
    abstract: "Shows the configuration that is in force, with its defaults.",
    discussion: "Of files it shows where they are, never what is in them.")

  @ParentCommand var parent: BulkheadControlCommand
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions

  func answer(_ client: ControlClient, _ view: View) async throws(ControlFailure) -> String {
    try view.show(await client.get(ConfigResponse.self, ControlPaths.config))
  }
}

extension View {
  func show(_ response: ConfigResponse) throws(ControlFailure) -> String {
    if format == .json { return try json(response) }
    var table = Table(columns: [("KEY", .left), ("VALUE", .left)])
    table.rows = response.settings.map { [.init($0.key), .init($0.value)] }
    return "\(Table.printable(response.file))\n\n\(table.rendered(coloured: coloured))"
  }
}
