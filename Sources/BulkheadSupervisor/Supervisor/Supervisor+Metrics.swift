import BulkheadControl
import BulkheadCore
import BulkheadPolicy
import BulkheadSystem
import BulkheadWire
import Glibc

/// `GET /v1/metrics`: what the front counts, and what this process knows.
extension Supervisor {
  /// Gives the text of all metrics, now or once the front has answered. On the loop's thread.
  func collectMetrics(_ answer: @escaping (String) -> Void) {
    inquiry.collectMetrics { [self] result in
      switch result {
      case .success(let text): answer(text + ownMetrics(without: nil))
      case .failure(let silence): answer(ownMetrics(without: silence.why))
      }
    }
  }

  private typealias Sample = PrometheusText.Sample

  /// What this process knows.
  ///
  /// - Parameter why: why the front's part is missing; nil where it is there.
  func ownMetrics(without why: String?) -> String {
    var text = PrometheusText(maximumBytes: FrontInquiry.maximumBytes)
    if let why { text.comment("the metrics of the front and of the plugins are missing: \(why)") }
    text.family(
      "bulkhead_info", "gauge", help: "The version that runs.", [Sample([("version", SupervisorOptions.version)], 1)])
    text.family(
      "bulkhead_uptime_seconds", "gauge", help: "Since the supervisor started.",
      [Sample([], (loop.now - startedAt).inSeconds)])
    text.family(
      "bulkhead_front_up", "gauge", help: "Whether the front serves.", [Sample([], front.isServing ? 1 : 0)])
    text.family(
      "bulkhead_front_restarts_total", "counter", help: "Fronts started after the first one.",
      [Sample([], front.restarts)])
    text.family(
      "bulkhead_reloads_total", "counter",
      help: "Configurations read again, by whether they were taken over or refused.",
      [Sample([("result", "taken")], reloader.counts.taken), Sample([("result", "refused")], reloader.counts.refused)])
    text.family(
      "bulkhead_upgrades_total", "counter",
      help: "Upgrades of this process, by how they ended.",
      [
        Sample([("result", "done")], chronicle.journal.counts[.upgraded] ?? 0),
        Sample([("result", "failed")], chronicle.journal.counts[.upgradeFailed] ?? 0),
      ])
    writeProcesses(&text)
    loop.rounds.write(&text)
    writeWorkers(&text)
    writePlugins(&text)
    text.family(
      "bulkhead_events_total", "counter", help: "Events that were recorded, by kind; the last ones are kept.",
      EventInfo.Kind.all.map { Sample([("kind", $0.rawValue)], chronicle.journal.counts[$0] ?? 0) })
    text.family(
      "bulkhead_log_lines_dropped_total", "counter",
      help: "Lines of log that were dropped because standard error is not read fast enough.",
      [Sample([], log.droppedLines)])
    text.family(
      "bulkhead_event_lines_dropped_total", "counter",
      help: "Events that could not be written to the file that they are kept in.",
      [Sample([], chronicle.droppedLines)])
    text.finish()
    return text.lines.reduce(into: "") { $0 += $1 + "\n" }
  }

  private func writeProcesses(_ text: inout PrometheusText) {
    let pids = [("supervisor", getpid())] + (front.front.map { [("front", $0.child.pid)] } ?? [])
    let usages = pids.compactMap { process, pid in usage(of: pid).map { (process, $0) } }
    text.family(
      "bulkhead_process_cpu_seconds_total", "counter",
      help: "Time on processors, in user and kernel mode, of the supervisor and of the present front.",
      usages.map { Sample([("process", $0.0)], $0.1.processorSeconds) })
    text.family(
      "bulkhead_process_resident_memory_bytes", "gauge",
      help: "Resident memory of the supervisor and of the present front, shared pages included.",
      usages.map { Sample([("process", $0.0)], $0.1.residentBytes) })
  }

  private func writeWorkers(_ text: inout PrometheusText) {
    var counts: [String: [String: Int]] = [:]
    for plugin in fleet.allPlugins {
      for worker in plugin.workers {
        let state =
          switch worker.shownState {
          case .starting: "starting"
          case .ready:
            switch plugin.role(of: worker) {
            case .standby: "standby"
            case .suspects: "suspects"
            case .serving, nil: "serving"
            }
          case .stopping: "stopping"
          }
        counts[plugin.name, default: [:]][state, default: 0] += 1
      }
    }
    let states = [
      ("starting", ""), ("ready", "serving"), ("ready", "standby"), ("ready", "suspects"), ("stopping", ""),
    ]
    text.family(
      "bulkhead_workers", "gauge", help: "Worker processes, by plugin, state, and role of those that are ready.",
      fleet.plugins.flatMap { plugin in
        states.map { state, role in
          // A label that is not there is the same as an empty one.
          Sample(
            [("plugin", plugin.name), ("state", state)] + (role.isEmpty ? [] : [("role", role)]),
            counts[plugin.name]?[role.isEmpty ? state : role] ?? 0)
        }
      })
    text.family(
      "bulkhead_worker_layer", "gauge",
      help: "Whether a layer of the sandbox holds in every ready worker of a plugin.",
      fleet.plugins.flatMap { plugin -> [Sample] in
        let reports = plugin.workers.filter { $0.state == .ready }.flatMap(\.layers)
        return IsolationLayer.allCases.compactMap { layer in
          let holds = reports.filter { $0.layer == layer }.map(\.holds)
          return holds.isEmpty
            ? nil
            : Sample([("plugin", plugin.name), ("layer", layer.rawValue)], holds.contains(false) ? 0 : 1)
        }
      })
    text.family(
      "bulkhead_front_layer", "gauge", help: "Whether a layer of the front's sandbox holds.",
      (front.front?.isolation ?? []).map { Sample([("layer", $0.layer.rawValue)], $0.holds ? 1 : 0) })
  }

  private func writePlugins(_ text: inout PrometheusText) {
    text.family(
      "bulkhead_state", "gauge", help: "Which state a plugin is in: 1 for that one.",
      fleet.plugins.flatMap { plugin in
        PluginState.allCases.map {
          Sample([("plugin", plugin.name), ("state", $0.rawValue)], plugin.machine.state == $0 ? 1 : 0)
        }
      })
    text.family(
      "bulkhead_restarts_total", "counter", help: "Workers started after a plugin's first ones.",
      fleet.plugins.map { Sample([("plugin", $0.name)], $0.restarts) })
    text.family(
      "bulkhead_exits_total", "counter", help: "Ends of workers, by plugin and reason.",
      fleet.plugins.flatMap { plugin in
        ExitReason.allCases.map {
          Sample([("plugin", plugin.name), ("reason", $0.rawValue)], plugin.record.counts.exits[$0] ?? 0)
        }
      })
    text.family(
      "bulkhead_vm_deaths_total", "counter",
      help: "Ends of VMs in workers that went on with a fresh one, by plugin and reason.",
      fleet.plugins.flatMap { plugin in
        [ExitReason.trap, .deadline, .memory].map {
          Sample([("plugin", plugin.name), ("reason", $0.rawValue)], plugin.record.counts.vmDeaths[$0] ?? 0)
        }
      })
    text.family(
      "bulkhead_crashes_total", "counter",
      help: "Crashes by plugin and reason: ends of its workers, and of guests in workers that live on.",
      fleet.plugins.flatMap { plugin in
        ExitReason.allCases.filter { $0 != .requested }.map {
          Sample([("plugin", plugin.name), ("reason", $0.rawValue)], crashes.tables[plugin.name]?.counts[$0] ?? 0)
        }
      })
    text.family(
      "bulkhead_crash_signatures", "gauge", help: "Kinds of crashes of a plugin that are kept.",
      fleet.plugins.map { Sample([("plugin", $0.name)], crashes.tables[$0.name]?.entries.count ?? 0) })
    text.family(
      "bulkhead_crash_signatures_evicted_total", "counter",
      help: "Kinds of crashes of a plugin that are not kept any more, since newer ones took their place.",
      fleet.plugins.map { Sample([("plugin", $0.name)], crashes.tables[$0.name]?.evicted ?? 0) })
    text.family(
      "bulkhead_suspects", "gauge", help: "Fingerprints of streams that a plugin died of.",
      fleet.plugins.map { plugin in
        plugin.suspects.age(Clock.monotonicNanoseconds)
        return Sample([("plugin", plugin.name)], plugin.suspects.table.entries.count)
      })
    text.family(
      "bulkhead_suspect_lane_starts_total", "counter",
      help: "Workers that were started for suspects of a plugin; they are none of its restarts.",
      fleet.plugins.map { Sample([("plugin", $0.name)], $0.record.counts.laneStarts) })
    text.family(
      "bulkhead_suspect_lane_closed", "gauge",
      help: "Whether the lane for suspects of a plugin takes none: its crash budget is spent.",
      fleet.plugins.map { Sample([("plugin", $0.name)], $0.lane?.machine.state == .quarantined ? 1 : 0) })
    text.family(
      "bulkhead_quarantined", "gauge",
      help: "Whether a plugin is quarantined: its crash budget is spent, and none of its workers is left.",
      fleet.plugins.map { Sample([("plugin", $0.name)], $0.machine.state == .quarantined ? 1 : 0) })
    text.family(
      "bulkhead_deadline_hits_total", "counter",
      help: "Workers of a plugin that were interrupted since a callback, or their start, took too long.",
      fleet.plugins.map { Sample([("plugin", $0.name)], $0.record.counts.deadlineHits) })
    text.family(
      "bulkhead_recycled_workers_total", "counter",
      help: "Workers of a plugin that are replaced since they reached a limit of its policy's recycling.",
      fleet.plugins.map { Sample([("plugin", $0.name)], $0.record.counts.recycled) })
    text.family(
      "bulkhead_worker_log_lines_dropped_total", "counter",
      help: "Lines of log of a plugin's workers that were dropped, since more came in a second than its policy allows.",
      fleet.plugins.map { Sample([("plugin", $0.name)], $0.record.counts.droppedLines) })
    text.family(
      "bulkhead_worker_resident_bytes", "gauge", help: "Resident memory of a plugin's workers, shared pages included.",
      fleet.plugins.compactMap { plugin in
        let sizes = plugin.workers.compactMap { try? ProcessMemory.residentSize(of: $0.child.pid) }
        return sizes.isEmpty ? nil : Sample([("plugin", plugin.name)], sizes.reduce(0) { $0 &+ $1 })
      })
    text.family(
      "bulkhead_guest_memory_bytes", "gauge", help: "Linear memory of a plugin's guests, as its workers say.",
      fleet.plugins.compactMap { plugin in
        let sizes = plugin.workers.compactMap { $0.status()?.memoryBytes }
        return sizes.isEmpty ? nil : Sample([("plugin", plugin.name)], sizes.reduce(0, &+))
      })
  }
}
