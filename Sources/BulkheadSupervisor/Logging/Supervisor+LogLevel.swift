import BulkheadControl
import BulkheadCore
import BulkheadRing
import BulkheadSystem

/// What `PUT /v1/log-level` asks for.
struct LogLevelChange: Equatable, Sendable {
  /// Nil: of all, those included that have a level of their own.
  var plugin: String?
  /// Nil gives a plugin no level of its own any more; of all it is the level of the start.
  var level: LogLevel?
}

/// `GET` and `PUT /v1/log-level`.
extension Supervisor {
  var logLevelResponse: LogLevelResponse {
    let values = log.levels.values
    return LogLevelResponse(
      level: values.usual.name, initial: log.levels.initial.name, plugins: values.plugins.mapValues(\.name))
  }

  func change(_ change: LogLevelChange) -> Result<ControlAnswer, ControlError> {
    let names = Set(fleet.allPlugins.map(\.name))
    if let plugin = change.plugin, !names.contains(plugin) { return .failure(noPlugin(plugin)) }
    log.levels.change { values in
      if let plugin = change.plugin {
        values.plugins[plugin] = change.level
        // Those of plugins that are not there any more would only pile up.
        values.plugins = values.plugins.filter { names.contains($0.key) }
      } else {
        values = LogLevels.Values(usual: change.level ?? log.levels.initial)
      }
    }
    let who = chronicle.asker.map { ", by uid \($0.uid), pid \($0.pid)" } ?? ""
    let level = log.levels.level(plugin: change.plugin).name
    // It is why lines are there from now on, or missing.
    log.writeInAnyCase(
      LogLine(
        at: .now, level: .info, process: "supervisor", plugin: change.plugin,
        message: "the least level that is logged is \(level) now\(who)"))
    front.tell(.logLevel(log.levels.level(plugin: nil)))
    for worker in fleet.workers.values { worker.setLogLevel(log.levels.level(plugin: worker.plugin.name)) }
    return .success(.logLevel(logLevelResponse))
  }
}

extension WorkerRuntime {
  /// Tells the process which lines it may keep to itself. Those it sends all the same are left out here.
  func setLogLevel(_ level: LogLevel) {
    withUnsafeBytes(of: ChannelLayout.logLevelWord(level.rawValue)) { word in
      do throws(SystemError) {
        _ = try channel.write(word, at: UInt64(ChannelLayout.logLevelWord))
      } catch {
        child.note(.warn, "it cannot be told which lines are logged now: \(error)")
      }
    }
  }
}
