import BulkheadControl
import BulkheadCore
import Testing

@testable import BulkheadCLI

@Suite struct ComplaintTests {
  static let lines: [(String, String?)] = [
    ("status", nil), ("--socket statu status", nil), ("--socket=x top", nil), ("help", nil), ("--help", nil), ("", nil),
    ("drain", nil), ("help statu", nil), ("-h", nil), ("--generate-completion-script bash", nil),
    ("statu", "there is no command 'statu'; did you mean 'status'?; commands: "),
    ("--socket /x plugin", "there is no command 'plugin'; did you mean 'plugins'?; commands: "),
    ("frobnicate geo", "there is no command 'frobnicate'; commands: "),
  ]

  @Test(arguments: lines) func aCommandThatIsNoneIsNamed(_ line: String, _ problem: String?) {
    let found = CommandNames.problem(
      line.split(separator: " ").map(String.init), commands: BulkheadControlCommand.names)
    #expect(problem == nil ? found == nil : found?.hasPrefix(problem ?? "") == true, "\(found ?? "nothing")")
  }

  @Test func everyCommandHasItsName() {
    #expect(BulkheadControlCommand.names.contains("events") && !BulkheadControlCommand.names.contains(""))
  }

  @Test func aSocketWithoutAPathIsRefused() {
    for line in [["--socket", "", "status"], ["status", "--socket", ""]] {
      #expect(throws: (any Error).self) { try BulkheadControlCommand.parseAsRoot(line) }
    }
  }

  @Test func whereJSONWasAskedForErrorsAreJSONToo() throws {
    let own = ControlFailure(exitCode: ExitCode.unavailable, message: "nobody listens")
    #expect(own.complaint(.table) == "bulkheadctl: nobody listens")
    let text = own.complaint(.json)
    let response = try ControlJSON.decode(ErrorResponse.self, from: text.utf8)
    #expect(response.error.code == .unavailable && response.error.message == "nobody listens", "\(text)")
    let answered = ControlFailure(
      status: 422, error: .init(code: .invalidConfiguration, message: "wrong", details: ["a:1: b"]))
    let detail = try ControlJSON.decode(ErrorResponse.self, from: answered.complaint(.json).utf8).error
    #expect(detail.code == .invalidConfiguration && detail.details == ["a:1: b"])
    let unknown = ControlFailure(noPlugin: "goe", ["auth", "geo"])
    #expect(unknown.message == "there is no plugin 'goe'; did you mean 'geo'?; there are: auth, geo")
    #expect(unknown.exitCode == ExitCode.dataError)
  }

  @Test func whatIsPipedIsNotCut() throws {
    var plugin = ViewTests.geo
    plugin.lastExit?.detail = String(repeating: "x", count: 200)
    var view = ViewTests.table
    #expect(try view.show(PluginsResponse(plugins: [plugin])).hasSuffix(String(repeating: "x", count: 200)))
    let many = PoliciesResponse(policies: [
      .init(name: "default", extends: nil, plugins: (1...50).map { "plugin-\($0)" })
    ])
    #expect(try view.show(many).hasSuffix("plugin-50"))
    view.isCut = true
    #expect(try view.show(PluginsResponse(plugins: [plugin])).hasSuffix("xxx..."))
    #expect(try view.show(many).hasSuffix("plugin-1,plugin-2,plugin-3,plugin-4 and 46 more"))
  }
}
