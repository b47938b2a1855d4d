import ArgumentParser
import BulkheadControl
import Glibc
import Synchronization

/// What shells complete names from: the running supervisor is asked. Where it cannot be, nothing is completed, and nothing
/// is said, since somebody is typing.
enum NameCompletion {
  /// The longest that a shell waits.
  private static let timeout = Duration.seconds(2)

  /// The socket that the words of a command line name, as far as they were typed.
  static func socketPath(_ words: [String], environment: String?) -> String {
    var path: String?
    for (index, word) in words.enumerated() {
      if word == "--socket", index + 1 < words.count { path = words[index + 1] }
      if word.hasPrefix("--socket=") { path = String(word.dropFirst("--socket=".count)) }
    }
    return path ?? environment.flatMap { $0.isEmpty ? nil : $0 } ?? ControlPaths.defaultSocket
  }

  /// Names as a shell takes them: what would need quoting is none of ours, and is left out.
  static func plain(_ names: [String]) -> [String] {
    names.filter { name in
      !name.isEmpty
        && name.utf8.allSatisfy { byte in
          switch byte {
          case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"): true
          default: false
          }
        }
    }
  }

  /// Asks the supervisor, and waits for its answer on this thread.
  fileprivate static func names(
    _ words: [String], _ ask: @escaping @Sendable (ControlClient) async throws -> [String]
  ) -> [String] {
    let path = socketPath(words, environment: Terminal().variable(ControlPaths.socketVariable))
    let client = ControlClient(socketPath: path, timeout: timeout)
    let answer = Answer()
    Task.detached {
      let names = (try? await ask(client)) ?? []
      answer.names.withLock { $0 = names }
    }
    for _ in 0..<patience {
      if let names = answer.names.withLock({ $0 }) { return plain(names) }
      usleep(UInt32(look))
    }
    return []
  }

  /// Between two looks for the answer, in microseconds, and how many there are.
  private static let look = 2_000
  private static let patience = 1_500

  private final class Answer: Sendable {
    let names = Mutex<[String]?>(nil)
  }
}

extension CompletionKind {
  /// The names of the plugins.
  static let pluginNames = CompletionKind.custom { words, _, _ in
    NameCompletion.names(words) { client in
      try await client.get(PluginsResponse.self, ControlPaths.plugins).plugins.map(\.name)
    }
  }

  /// The names of the plugins and of the crash policies.
  static let pluginAndPolicyNames = CompletionKind.custom { words, _, _ in
    NameCompletion.names(words) { client in
      let plugins = try await client.get(PluginsResponse.self, ControlPaths.plugins).plugins.map(\.name)
      let policies = try await client.get(PoliciesResponse.self, ControlPaths.policies).policies.map(\.name)
      return plugins + policies.filter { !plugins.contains($0) }
    }
  }
}
