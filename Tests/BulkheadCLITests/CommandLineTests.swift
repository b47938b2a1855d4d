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

  static let events: [(String, plugin: String?, isFollowing: Bool, last: Int?, isJSON: Bool)] = [
    ("events", nil, false, nil, false), ("events geo", "geo", false, nil, false),
    ("events -f geo", "geo", true, nil, false), ("events --follow --last 0", nil, true, 0, false),
    ("events -l 5 --json", nil, false, 5, true), ("events -o json", nil, false, nil, true),
  ]

  @Test(arguments: events) func eventsTakesWhatItIsGiven(
    _ line: String, _ plugin: String?, _ isFollowing: Bool, _ last: Int?, _ isJSON: Bool
  ) throws {
    let root = try BulkheadControlCommand.parseAsRoot(line.split(separator: " ").map(String.init))
    let command = try #require(root as? EventsCommand)
    #expect(command.plugin == plugin && command.follow == isFollowing && command.last == last)
    #expect((command.json || command.output.output == .json) == isJSON)
  }

  @Test(
    arguments: [
      ("top", 2.0, nil), ("top -d 0.2 -n 1", 0.2, 1), ("top --interval 3600 --count 5", 3_600, 5),
    ] as [(String, Double, Int?)])
  func topTakesWhatItIsGiven(_ line: String, _ interval: Double, _ count: Int?) throws {
    let root = try BulkheadControlCommand.parseAsRoot(line.split(separator: " ").map(String.init))
    let command = try #require(root as? TopCommand)
    #expect(command.interval == interval && command.count == count)
  }

  @Test(arguments: [
    "events a b", "events --last", "events --last -1", "events --last x", "events -o xml", "top geo", "top -d 0.1",
    "top -d 3601", "top -d nan", "top -d x", "top -n 0", "top -n -1", "top -o json",
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
