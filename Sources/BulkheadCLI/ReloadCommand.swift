import ArgumentParser
import BulkheadControl

struct ReloadCommand: FormattedSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "reload",
    abstract: "Takes over the changed configuration without failing a request; one that is wrong changes nothing.")

  @ParentCommand var parent: BulkheadControlCommand
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions

  func answer(_ client: ControlClient, _ view: View) async throws(ControlFailure) -> String {
    try view.show(await client.post(ReloadResponse.self, ControlPaths.reload))
  }
}
