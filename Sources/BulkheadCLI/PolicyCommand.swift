import ArgumentParser
import BulkheadControl
import BulkheadCore

/// `bulkheadctl policy`: crash policies, and where their values come from.
struct PolicyCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "policy", abstract: "Shows crash policies: see bulkhead-policy(5).",
    subcommands: [PolicyListCommand.self, PolicyShowCommand.self], defaultSubcommand: PolicyListCommand.self)

  @ParentCommand var parent: BulkheadControlCommand
}

struct PolicyListCommand: FormattedSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "Lists the crash policies that there are, and who uses them.")

  @ParentCommand var group: PolicyCommand
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions

  var parent: BulkheadControlCommand { group.parent }

  func answer(_ client: ControlClient, _ view: View) async throws(ControlFailure) -> String {
    try view.show(await client.get(PoliciesResponse.self, ControlPaths.policies))
  }
}

struct PolicyShowCommand: FormattedSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "show",
    abstract: "Shows what a crash policy says, or what holds for a plugin.",
    discussion: """
      Without --effective: what the policy itself, or the plugin's manifest, says. With it: every value that holds, and \
      where each one was said.
      """)

  @ParentCommand var group: PolicyCommand
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions
  @Flag(help: "All values, and where each one comes from.")
  var effective = false
  @Flag(name: .customLong("plugin"), help: "The name is a plugin's, even where there is a policy of that name.")
  var isPlugin = false
  @Flag(name: .customLong("policy"), help: "The name is a policy's, even where there is a plugin of that name.")
  var isPolicy = false
  @Argument(help: ArgumentHelp("A plugin, else a policy.", valueName: "name"), completion: .pluginAndPolicyNames)
  var name: String

  var parent: BulkheadControlCommand { group.parent }

  func validate() throws {
    if isPlugin && isPolicy { throw ValidationError("--plugin and --policy exclude each other") }
  }

  func answer(_ client: ControlClient, _ view: View) async throws(ControlFailure) -> String {
    try view.show(try await find(client), effective: effective)
  }

  private func find(_ client: ControlClient) async throws(ControlFailure) -> PolicyResponse {
    if isPlugin { return try await client.get(PolicyResponse.self, ControlPaths.policy(ofPlugin: name)) }
    if isPolicy { return try await client.get(PolicyResponse.self, ControlPaths.policy(name)) }
    let plugins = try await client.get(PluginsResponse.self, ControlPaths.plugins).plugins
    if plugins.contains(where: { $0.name == name }) {
      return try await client.get(PolicyResponse.self, ControlPaths.policy(ofPlugin: name))
    }
    let policies = try await client.get(PoliciesResponse.self, ControlPaths.policies).policies
    guard policies.contains(where: { $0.name == name }) else {
      throw ControlFailure(
        exitCode: ExitCode.dataError,
        message: Table.printable(
          "there is neither a plugin nor a crash policy '\(name)'"
            + NearestName.question(name, among: plugins.map(\.name) + policies.map(\.name))
            + "; plugins: \(plugins.map(\.name).joined(separator: ", "))"
            + "; policies: \(policies.map(\.name).joined(separator: ", "))"))
    }
    return try await client.get(PolicyResponse.self, ControlPaths.policy(name))
  }
}
