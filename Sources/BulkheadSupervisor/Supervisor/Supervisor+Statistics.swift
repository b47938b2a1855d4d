import BulkheadControl
import BulkheadCore
import BulkheadPolicy
import BulkheadWire

/// `GET /v1/statistics`.
extension Supervisor {
  /// Gives what the front has measured, now or once it has answered; nothing of it where it does not.
  func collectStatistics(_ answer: @escaping (StatisticsResponse) -> Void) {
    inquiry.collectStatistics { [self] told in
      answer(
        StatisticsResponse(
          frontPid: told == nil ? nil : front.front?.child.pid, plugins: (told ?? []).compactMap(described)))
    }
  }

  private func described(_ told: PluginStatistics) -> StatisticsResponse.Plugin? {
    guard let plugin = fleet.plugins.first(where: { $0.number == told.plugin }) else { return nil }
    // A reload leaves the channels of those that it leaves alone as they are.
    let ring = plugin.ring
    return StatisticsResponse.Plugin(
      plugin: plugin.name, callbacks: told.callbacks, failedStreams: told.failedStreams,
      waitingStreams: told.waitingStreams,
      latencies: told.latencies.map {
        .init(callback: CallbackKind.name(of: $0.kind), $0.histogram)
      },
      channels: told.channels.compactMap { channel in
        guard let worker = fleet.workers[channel.worker], worker.plugin === plugin else { return nil }
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
