import ArgumentParser
import BulkheadControl
import BulkheadCore

/// What all subcommands share: ask, show, and end with the right code.
protocol ControlSubcommand: AsyncParsableCommand {
  var parent: BulkheadControlCommand { get }
  var connection: ConnectionOptions { get }
  /// How the answer is shown.
  var format: OutputFormat { get }

  /// Asks the supervisor and gives what to print.
  func answer(_ client: ControlClient, _ view: View) async throws(ControlFailure) -> String
}

extension ControlSubcommand {
  /// The socket to talk to: of the subcommand, else of the root, else of the environment.
  func socketPath(environment: String?) -> String {
    connection.path(parent: parent.connection, environment: environment)
  }

  mutating func run() async throws {
    let terminal = Terminal()
    let client = ControlClient(socketPath: socketPath(environment: terminal.variable(ControlPaths.socketVariable)))
    do {
      var view = View(now: Terminal.now, coloured: terminal.takesColour, format: format)
      view.isCut = terminal.isScreen
      Terminal.print(try await answer(client, view))
    } catch {
      Terminal.complain(error.complaint(format))
      throw ArgumentParser.ExitCode(error.exitCode)
    }
  }
}

/// A subcommand whose answer is shown as a table or as JSON.
protocol FormattedSubcommand: ControlSubcommand {
  var output: OutputOptions { get }
}

extension FormattedSubcommand {
  var format: OutputFormat { output.output }
}

struct StatusCommand: FormattedSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "status", abstract: "Shows the supervisor, the front, the listeners and how many plugins are well.")

  @ParentCommand var parent: BulkheadControlCommand
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions

  func answer(_ client: ControlClient, _ view: View) async throws(ControlFailure) -> String {
    try view.show(await client.get(StatusResponse.self, ControlPaths.status))
  }
}

struct PluginsCommand: FormattedSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "plugins", abstract: "Lists the plugins in the order of the chain.")

  @ParentCommand var parent: BulkheadControlCommand
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions

  func answer(_ client: ControlClient, _ view: View) async throws(ControlFailure) -> String {
    try view.show(await client.get(PluginsResponse.self, ControlPaths.plugins))
  }
}

struct WorkersCommand: FormattedSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "workers", abstract: "Lists the worker processes, what they do and how they are isolated.",
    discussion: """
      With a name also what the front measures of that plugin: how full the rings are, rates over a second, and how long \
      callbacks take.
      """)

  @ParentCommand var parent: BulkheadControlCommand
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions
  @Argument(help: ArgumentHelp("Only the workers of this plugin.", valueName: "name"), completion: .pluginNames)
  var plugin: String?

  func answer(_ client: ControlClient, _ view: View) async throws(ControlFailure) -> String {
    var response = try await client.get(WorkersResponse.self, ControlPaths.workers)
    guard let plugin else { return try view.show(response) }
    response.workers.removeAll { $0.plugin != plugin }
    let plugins = try await client.get(PluginsResponse.self, ControlPaths.plugins).plugins
    let info = plugins.first { $0.name == plugin }
    guard info != nil || !response.workers.isEmpty else {
      throw ControlFailure(noPlugin: plugin, plugins.map(\.name))
    }
    let before = try await client.get(StatisticsResponse.self, ControlPaths.statistics)
    try? await Task.sleep(for: Self.span)
    let after = try await client.get(StatisticsResponse.self, ControlPaths.statistics)
    let report = PluginReport(
      workers: response.workers, lastExit: info?.lastExit, statistics: after.plugins.first { $0.plugin == plugin },
      before: before.frontPid == after.frontPid ? before.plugins.first { $0.plugin == plugin } : nil,
      seconds: Double(Self.span.components.seconds))
    return try view.show(report)
  }

  /// What rates are taken over.
  private static let span = Duration.seconds(1)
}

struct MetricsCommand: ControlSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "metrics",
    abstract: "Prints all metrics, Bulkhead's own and the plugins', in Prometheus' text format.")

  @ParentCommand var parent: BulkheadControlCommand
  @OptionGroup var connection: ConnectionOptions

  var format: OutputFormat { .table }

  func answer(_ client: ControlClient, _ view: View) async throws(ControlFailure) -> String {
    let text = try await client.text(ControlPaths.metrics)
    return text.hasSuffix("\n") ? String(text.dropLast()) : text
  }
}

struct RestartCommand: FormattedSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "restart",
    abstract: "Replaces a plugin's worker by a fresh one; this does not count against its crash budget.")

  @ParentCommand var parent: BulkheadControlCommand
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions
  @Argument(help: ArgumentHelp("The plugin.", valueName: "name"), completion: .pluginNames)
  var plugin: String

  func answer(_ client: ControlClient, _ view: View) async throws(ControlFailure) -> String {
    try view.show(await client.post(PluginInfo.self, ControlPaths.restart(plugin: plugin)), done: "restarted")
  }
}

struct ResetCommand: FormattedSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "reset",
    abstract: "Forgives a plugin's failures: ends a quarantine or a wait, and gives it a fresh crash budget.")

  @ParentCommand var parent: BulkheadControlCommand
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions
  @Argument(help: ArgumentHelp("The plugin.", valueName: "name"), completion: .pluginNames)
  var plugin: String

  func answer(_ client: ControlClient, _ view: View) async throws(ControlFailure) -> String {
    try view.show(await client.post(PluginInfo.self, ControlPaths.reset(plugin: plugin)), done: "reset")
  }
}
