import BulkheadControl
import Testing

@testable import BulkheadCLI

@Suite struct CommandLineTests {
  static func parse(_ line: String) throws -> any ControlSubcommand {
    let command = try BulkheadControlCommand.parseAsRoot(line.split(separator: " ").map(String.init))
    return try #require(command as? any ControlSubcommand)
  }

  static let sockets: [(String, String?, String)] = [
    ("status", nil, "/run/bulkhead/control.sock"),
    ("status", "", "/run/bulkhead/control.sock"),
    ("status", "/env", "/env"),
    ("--socket /a status", "/env", "/a"),
    ("status --socket /b", "/env", "/b"),
    ("--socket /a plugins --socket /b", nil, "/b"),
    ("--socket=/a workers geo", nil, "/a"),
    ("restart geo --socket /b", nil, "/b"),
    ("metrics --socket /b", nil, "/b"),
    ("--socket /a reset geo", nil, "/a"),
    ("--socket /a policy show geo", nil, "/a"),
    ("--socket /a policy list --socket /b", nil, "/b"),
  ]

  @Test(arguments: sockets) func theSocketIsTakenFromWhereItIsGiven(
    _ line: String, _ environment: String?, _ socket: String
  ) throws {
    #expect(try Self.parse(line).socketPath(environment: environment) == socket)
  }

  @Test(arguments: [
    ("status", OutputFormat.table), ("plugins -o json", .json), ("workers --output json", .json),
    ("workers geo -o table", .table), ("restart geo -o json", .json), ("reset -o json geo", .json),
  ])
  func everySubcommandTakesTheFormat(_ line: String, _ format: OutputFormat) throws {
    #expect(try Self.parse(line).format == format)
  }

  @Test func namesReachTheirCommands() throws {
    #expect((try Self.parse("workers") as? WorkersCommand)?.plugin == nil)
    #expect((try Self.parse("workers geo") as? WorkersCommand)?.plugin == "geo")
    #expect((try Self.parse("restart geo") as? RestartCommand)?.plugin == "geo")
    #expect((try Self.parse("reset geo") as? ResetCommand)?.plugin == "geo")
    #expect((try Self.parse("policy show geo --effective") as? PolicyShowCommand)?.effective == true)
    #expect((try Self.parse("policy show --policy geo") as? PolicyShowCommand)?.isPolicy == true)
  }

  @Test(arguments: [
    "restart", "reset", "status geo", "workers a b", "plugins -o xml", "statu", "--socket", "status --sockett /a",
    "metrics -o json",
    "metrics geo", "policy show", "policy show a b", "policy show --plugin --policy a", "policy list a",
  ])
  func aWrongCommandLineIsUsage(_ line: String) throws {
    let error = #expect(throws: (any Error).self) {
      try BulkheadControlCommand.parseAsRoot(line.split(separator: " ").map(String.init))
    }
    #expect(BulkheadControlCommand.exitCode(for: try #require(error)).rawValue == 64)
  }

  @Test func aNameIsOneSegmentOfThePath() {
    #expect(ControlPaths.restart(plugin: "geo-1.a") == "/v1/plugins/geo-1.a/restart")
    #expect(ControlPaths.reset(plugin: "a/../b ?#%ä") == "/v1/plugins/a%2F..%2Fb%20%3F%23%25%C3%A4/reset")
  }
}
