import ArgumentParser
import BulkheadControl
import BulkheadCore
import Glibc

/// `bulkheadctl`: asks the supervisor how things stand, and tells it to restart or forgive a plugin.
public struct BulkheadControlCommand: AsyncParsableCommand {
  /// What `--help` shows, and the commands.
  public static let configuration = CommandConfiguration(
    commandName: "bulkheadctl",
    abstract: "Shows and steers a running bulkheadd over its control socket.",
    discussion: """
      Exit codes: 0 done, 64 wrong usage, 65 no such plugin or policy, 69 bulkheadd cannot be reached or cannot do it now, 70 a \
      fault of Bulkhead's own, 77 not allowed, 78 the configuration is wrong.
      """,
    version: "bulkheadctl \(Version.current)",
    subcommands: [
      StatusCommand.self, PluginsCommand.self, WorkersCommand.self, EventsCommand.self, TopCommand.self,
      MetricsCommand.self, RestartCommand.self, ResetCommand.self, ReloadCommand.self, UpgradeCommand.self,
      StopCommand.self, LogLevelCommand.self, ConfigCommand.self, PolicyCommand.self, CrashesCommand.self,
      SuspectsCommand.self,
    ])

  @OptionGroup var connection: ConnectionOptions

  /// A command that was not parsed yet: ArgumentParser asks for it.
  public init() {}

  /// Runs the command line of this process and ends it, where something fails with the code that says what.
  public static func runProcess() async {
    if let problem = CommandNames.problem(Array(CommandLine.arguments.dropFirst()), commands: names) {
      Terminal.complain("bulkheadctl: \(problem)")
      Glibc.exit(BulkheadCore.ExitCode.usage)
    }
    await main()
  }

  /// All commands, with their other names.
  static var names: [String] {
    configuration.subcommands.flatMap { command in
      [command.configuration.commandName ?? ""] + command.configuration.aliases
    }
  }
}

/// Where the supervisor is; taken before and after the subcommand, of which the latter counts.
struct ConnectionOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "The control socket.",
      discussion: "Default: $\(ControlPaths.socketVariable), else \(ControlPaths.defaultSocket).",
      valueName: "path"),
    completion: .file())
  var socket: String?

  func validate() throws {
    if socket?.isEmpty == true {
      throw ValidationError(
        "--socket takes the path of a control socket: leave it out for $\(ControlPaths.socketVariable), else "
          + ControlPaths.defaultSocket)
    }
  }

  /// The socket to talk to: of the subcommand, else of the root, else of the environment.
  func path(parent: ConnectionOptions, environment: String?) -> String {
    socket ?? parent.socket ?? environment.flatMap { $0.isEmpty ? nil : $0 } ?? ControlPaths.defaultSocket
  }
}

/// How an answer is shown.
enum OutputFormat: String, ExpressibleByArgument, CaseIterable {
  case table, json
}

struct OutputOptions: ParsableArguments {
  @Option(name: [.short, .long], help: "How to show it: table or json.")
  var output = OutputFormat.table
}
