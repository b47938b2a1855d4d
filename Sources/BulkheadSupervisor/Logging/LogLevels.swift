import BulkheadCore
import Synchronization

/// The least levels that are logged, which may change while everything runs. Any thread may ask.
final class LogLevels: Sendable {
  /// What holds now.
  struct Values: Equatable, Sendable {
    /// Of all that has none of its own.
    var usual: LogLevel
    /// Of what is logged of these plugins, by their names.
    var plugins: [String: LogLevel] = [:]

    func level(plugin: String?) -> LogLevel { plugin.flatMap { plugins[$0] } ?? usual }
  }

  /// What it was at the start.
  let initial: LogLevel
  private let state: Mutex<Values>

  init(_ initial: LogLevel) {
    self.initial = initial
    state = Mutex(Values(usual: initial))
  }

  var values: Values { state.withLock { $0 } }

  func change(_ body: (inout Values) -> Void) {
    state.withLock { values in body(&values) }
  }

  /// The least level that is logged of a plugin, or of what belongs to none.
  func level(plugin: String?) -> LogLevel { state.withLock { $0.level(plugin: plugin) } }
}
