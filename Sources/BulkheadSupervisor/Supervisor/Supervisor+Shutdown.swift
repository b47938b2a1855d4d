import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Glibc

/// The way to the end.
extension Supervisor {
  /// Takes a signal that was sent to the supervisor.
  func take(_ signal: SignalDescriptor.Arrival) {
    switch signal.signal {
    case SIGHUP:
      note(.info, "SIGHUP: reading the configuration again")
      reloadBySignal()
    default: shutDown(by: Signal.name(signal.signal))
    }
  }

  /// Drains the front, then stops the workers; asked for a second time, without waiting for what is in flight.
  func shutDown(by name: String) {
    switch phase {
    case .starting where front == nil && upgrade.previous.isEmpty:
      note(.info, "\(name): stopped before anything served")
      phase = .stopping
      announceStop()
      stopWorkers()
    case .starting, .running:
      note(.info, "\(name): draining for at most \(Self.drainTime.text); a second one stops at once")
      phase = .draining
      record(.stopping, "\(name): draining for at most \(Self.drainTime.text)")
      endReloads(because: "the supervisor stops")
      drainingSince = loop.now
      announceStop()
      listeners.close()
      drainPrevious()
      loop.cancel(&frontTimer)
      guard front != nil else { return stopWorkers() }
      tellFront(.drain(milliseconds: Self.drainTime.wholeMilliseconds))
      shutdownTimer = loop.after(Self.drainTime + .seconds(2)) { [unowned self] in
        shutdownTimer = nil
        note(.warn, "the front did not drain in time: it is killed")
        front?.child.send(signal: SIGKILL)
      }
    case .draining:
      // Some that send signals send them to the process and to its group: that is one wish, not two.
      guard loop.now - drainingSince >= Self.signalTwin else { return }
      note(.info, "\(name) again: stopping at once")
      loop.cancel(&shutdownTimer)
      front?.child.send(signal: SIGKILL)
      killPrevious()
    case .stopping: break
    }
  }

  /// Ends all workers; the run is over when they are gone.
  func stopWorkers() {
    // Its end calls this again.
    guard !upgrade.previous.contains(where: \.hasFront) else { return }
    phase = .stopping
    loop.cancel(&shutdownTimer)
    for plugin in allPlugins {
      loop.cancel(&plugin.streams.timer)
      endLane(of: plugin)
    }
    startQueue = []
    for worker in workers.values { kill(worker, ExitCause(reason: .requested, detail: "the supervisor stops")) }
    if workers.isEmpty {
      outcome = .success(())
      return
    }
    // A process that SIGKILL does not end within that time hangs in the kernel; it goes when it can.
    shutdownTimer = loop.after(.seconds(3)) { [unowned self] in
      note(.warn, "\(workers.count) workers are not gone yet; they were killed and will not outlive this process long")
      outcome = .success(())
    }
  }
}
