import ArgumentParser
import BulkheadCLI
import BulkheadSupervisor
import Glibc

struct BulkheadDaemon: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bulkheadd",
    abstract: "Runs Proxy-Wasm plugins, each in a process of its own, behind an HTTP proxy.",
    discussion: """
      It starts bulkhead-front, which takes the traffic, and a bulkhead-worker for each plugin, and replaces what dies. \
      bulkheadctl upgrade puts a newly installed version in its place. \
      SIGTERM drains and stops. Exit codes follow sysexits.h: 64 usage, 69 unavailable, 70 internal, 72 not wholly \
      installed, 77 permission, 78 configuration.
      """,
    version: "bulkheadd \(SupervisorOptions.version)")

  @Option(
    name: [.short, .long], help: ArgumentHelp("The configuration to run.", valueName: "file"),
    completion: .file(extensions: ["yaml", "yml"]))
  var config = SupervisorOptions.defaultConfiguration

  @Flag(
    help: ArgumentHelp(
      "Validate everything, compile every module, list what each exports and imports, and exit.",
      discussion:
        "What is wrong is written as FILE:LINE:COLUMN: error: ..., and the exit code says of which kind it is."))
  var check = false

  @Option(
    help: ArgumentHelp("How log lines are written: text, json or journald.", valueName: "format"),
    completion: .list(["text", "json", "journald"]), transform: logFormat)
  var logFormat = LogFormat.text

  @Option(
    help: ArgumentHelp(
      "The least level that is logged: \(SupervisorOptions.logLevelNames.joined(separator: ", ")).",
      valueName: "level"),
    completion: .list(SupervisorOptions.logLevelNames))
  var logLevel = "info"

  @Option(
    help: ArgumentHelp(
      "Where bulkhead-front, bulkhead-worker and bulkhead-compiler are; around this executable unless given.",
      valueName: "dir"),
    completion: .directory)
  var libexec: String?

  @Option(help: .hidden)
  var takesOver: UInt32?

  private static func logFormat(_ text: String) throws -> LogFormat {
    guard let format = LogFormat(rawValue: text), format != .plain else {
      throw ValidationError("'\(text)' is no log format; there are text, json and journald.")
    }
    return format
  }

  private func options() throws -> SupervisorOptions {
    var options = SupervisorOptions(configuration: config, check: check, logFormat: logFormat, libexec: libexec)
    options.takesOver = takesOver
    guard options.setLogLevel(named: logLevel) else {
      throw ValidationError(
        "'\(logLevel)' is no log level; there are \(SupervisorOptions.logLevelNames.joined(separator: ", ")).")
    }
    return options
  }

  func validate() throws { _ = try options() }

  func run() throws { throw ExitCode(Bulkhead.run(try options())) }
}

// As installed, bulkheadctl is a link to this file: two programs of their own would have most of their 20 MB in common.
if CommandLine.arguments.first?.split(separator: "/").last == "bulkheadctl" {
  Task.detached {
    await BulkheadControlCommand.runProcess()
    exit(0)
  }
  while true { pause() }
}
BulkheadDaemon.main()
