import ArgumentParser
import BulkheadControl
import BulkheadCore

struct UpgradeCommand: FormattedSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "upgrade",
    abstract: "Replaces the running binaries by the installed ones, without a refused or failed request.",
    discussion: """
      The installed bulkheadd is tried first: it starts beside the running one, with the configuration as it is now. Then \
      it is executed in the place of that one, under the same process id, and starts a front and workers. Once these are \
      ready they take the traffic, and the old front ends after what it has under way. Where anything fails, what ran \
      before serves on and this command says why, with exit code 69.
      """)

  /// Between two looks at how it goes.
  private static let interval = Duration.milliseconds(100)
  /// The longest that the supervisor may not answer, while it is replaced.
  private static let silence = Duration.seconds(30)
  /// The longest in all: every module may have to be compiled anew.
  private static let limit = Duration.seconds(900)

  @ParentCommand var parent: BulkheadControlCommand
  @OptionGroup var connection: ConnectionOptions
  @OptionGroup var output: OutputOptions

  func answer(_ client: ControlClient, _ view: View) async throws(ControlFailure) -> String {
    let clock = ContinuousClock()
    let begun = try await client.post(UpgradeInfo.self, ControlPaths.upgrade)
    let end = clock.now + Self.limit
    var heard = clock.now
    while true {
      let now = clock.now
      do throws(ControlFailure) {
        let status = try await client.get(StatusResponse.self, ControlPaths.status)
        heard = now
        guard let upgrade = status.upgrade, upgrade.number == begun.number else {
          throw ControlFailure(
            exitCode: ExitCode.unavailable,
            message: "bulkheadd was started anew, or another upgrade has begun meanwhile")
        }
        switch upgrade.state {
        case .draining, .done: return try view.show(upgrade, version: status.version)
        case .failed:
          throw ControlFailure(
            exitCode: ExitCode.unavailable,
            message: Table.printable("the upgrade failed, what ran before serves on: \(upgrade.detail)"))
        case .checking, .starting: break
        }
      } catch {
        // While one program takes the other's place nobody answers.
        guard error.exitCode == ExitCode.unavailable, heard != now, now - heard < Self.silence else { throw error }
      }
      guard now < end else {
        throw ControlFailure(
          exitCode: ExitCode.unavailable,
          message: "not done within \(Self.limit): bulkheadctl status shows how it goes on")
      }
      do { try await Task.sleep(for: Self.interval) } catch {
        throw ControlFailure(exitCode: ExitCode.software, message: "the wait was cancelled")
      }
    }
  }
}
