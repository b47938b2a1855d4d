import ArgumentParser
import BulkheadControl

struct ReloadCommand: FormattedSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "reload",
    abstract: "Takes over the changed configuration without failing a request; one that is wrong changes nothing.")

  @ParentCommand var parent: BulkheadControlCommand
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions
  @Flag(help: "Say what would change, and change nothing; modules are compiled, so that the reload itself is short.")
  var check = false

  func answer(_ client: ControlClient, _ view: View) async throws(ControlFailure) -> String {
    var response = try await client.post(ReloadResponse.self, check ? ControlPaths.reloadCheck : ControlPaths.reload)
    // Modules may take minutes to compile; each of these waits for as long as a request may.
    while response.isUnderWay {
      response = try await client.get(ReloadResponse.self, "\(ControlPaths.reload)/\(response.number)")
    }
    return try view.show(response)
  }
}
