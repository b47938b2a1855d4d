import ArgumentParser
import BulkheadControl
import BulkheadCore

/// `bulkheadctl log-level`: which lines are logged, from now on.
struct LogLevelCommand: FormattedSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "log-level",
    abstract: "Shows or changes the least level that is logged, until bulkheadd ends or is upgraded.",
    discussion: """
      A change holds at once, for what runs and for what is started later; a reload keeps it. Without --plugin it holds \
      for all, plugins included that have a level of their own.
      """)

  /// The level of the start; of a plugin that of all.
  static let usual = "default"
  static let names = LogLevel.allCases.map(\.name) + [usual]

  @ParentCommand var parent: BulkheadControlCommand
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions
  @Option(
    help: ArgumentHelp("Of what is logged of this plugin alone.", valueName: "name"), completion: .pluginNames)
  var plugin: String?
  @Argument(
    help: ArgumentHelp(
      "\(names.joined(separator: ", ")): what it was at the start, of a plugin what it is of all.",
      valueName: "level"),
    completion: .list(names))
  var level: String?

  func validate() throws {
    if let level, !Self.names.contains(level) {
      throw ValidationError(
        "there is no level '\(Table.printable(level))'\(NearestName.question(level, among: Self.names)); there are: "
          + Self.names.joined(separator: ", "))
    }
    if level == nil, plugin != nil {
      throw ValidationError("name a level for the plugin; without any argument all levels are shown")
    }
  }

  func answer(_ client: ControlClient, _ view: View) async throws(ControlFailure) -> String {
    guard let level else { return try view.show(await client.get(LogLevelResponse.self, ControlPaths.logLevel)) }
    return try view.show(
      await client.put(LogLevelResponse.self, ControlPaths.logLevel(level, plugin: plugin)))
  }
}

extension View {
  /// The level of all in a line, then one for each plugin with a level of its own.
  func show(_ response: LogLevelResponse) throws(ControlFailure) -> String {
    if format == .json { return try json(response) }
    let plugins = response.plugins.sorted { $0.key < $1.key }.map { "plugin \($0.key): \($0.value)" }
    return ([response.level] + plugins).map(Table.printable).joined(separator: "\n")
  }
}
