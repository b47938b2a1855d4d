import BulkheadControl
import BulkheadCore
import BulkheadPolicy
import BulkheadWire

/// Statistics that are being collected from the front, in pieces, for all who ask meanwhile.
struct StatisticsCollection {
  /// What the front is asked under; 0 is none.
  var number: UInt32 = 0
  var plugins: [PluginStatistics] = []
  var waiters: [(StatisticsResponse) -> Void] = []
  var timer: TimerQueue.Token?
}

/// `GET /v1/statistics`.
extension Supervisor {
  /// Gives what the front has measured, now or once it has answered; nothing of it where it does not.
  func collectStatistics(_ answer: @escaping (StatisticsResponse) -> Void) {
    guard let front, front.isServing else { return answer(StatisticsResponse(frontPid: nil, plugins: [])) }
    statistics.waiters.append(answer)
    // Whoever asks while an answer is on its way shares it.
    guard statistics.waiters.count == 1 else { return }
    statistics.number &+= 1
    if statistics.number == 0 { statistics.number = 1 }
    statistics.plugins = []
    statistics.timer = loop.after(MetricsCollection.limit) { [unowned self] in
      statistics.timer = nil
      endStatistics()
    }
    tellFront(.collectStatistics(number: statistics.number))
  }

  /// A piece of the front's answer.
  func takeStatistics(number: UInt32, isLast: Bool, _ pieces: [PluginStatistics]) {
    guard number == statistics.number, !statistics.waiters.isEmpty else { return }
    // No more than one for each plugin: the front is not to fill this process's memory.
    guard statistics.plugins.count + pieces.count <= plugins.count else { return endStatistics() }
    statistics.plugins += pieces
    guard isLast else { return }
    finish(StatisticsResponse(frontPid: front?.child.pid, plugins: statistics.plugins.compactMap(described)))
  }

  /// The front does not answer any more.
  func endStatistics() {
    guard !statistics.waiters.isEmpty else { return }
    finish(StatisticsResponse(frontPid: nil, plugins: []))
  }

  private func finish(_ response: StatisticsResponse) {
    loop.cancel(&statistics.timer)
    let waiters = statistics.waiters
    statistics.waiters = []
    statistics.plugins = []
    for waiter in waiters { waiter(response) }
  }

  private func described(_ told: PluginStatistics) -> StatisticsResponse.Plugin? {
    guard let plugin = plugins.first(where: { $0.index == told.plugin }) else { return nil }
    // A reload leaves the channels of those that it leaves alone as they are.
    let ring = plugin.ring
    return StatisticsResponse.Plugin(
      plugin: plugin.name, callbacks: told.callbacks, failedStreams: told.failedStreams,
      waitingStreams: told.waitingStreams,
      latencies: told.latencies.map {
        .init(callback: CallbackKind.name(of: $0.kind), $0.histogram)
      },
      channels: told.channels.compactMap { channel in
        guard let worker = workers[channel.worker], worker.plugin === plugin else { return nil }
        return .init(
          pid: worker.child.pid, outstanding: channel.outstanding, callbackRingBytes: channel.callbackBytes,
          callbackRingCapacity: ring.callbacks, replyRingBytes: channel.replyBytes, replyRingCapacity: ring.replies)
      })
  }
}

extension WorkerInfo.Deadlines {
  /// What holds for a plugin under that policy, in milliseconds.
  init(_ policy: CrashPolicy) {
    /// Where the policy names none, the start deadline alone holds.
    func milliseconds(_ callbacks: CallbackClass) -> Double {
      (policy.deadline(of: callbacks) ?? policy.startDeadline).inSeconds * 1_000
    }
    self.init(
      headers: milliseconds(.headers), body: milliseconds(.body), log: milliseconds(.log), tick: milliseconds(.tick),
      configure: milliseconds(.configure), start: policy.startDeadline.inSeconds * 1_000)
  }
}
