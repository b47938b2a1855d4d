import BulkheadCore
import BulkheadPolicy
import BulkheadSystem
import Glibc

/// What the service manager is told, and the watch over the front's event loops.
///
/// The chain of watching: the service manager watches this loop, this loop watches the front's. A front that stands still
/// is killed and replaced here; only where that does not help does the manager hear nothing and replace everything.
extension Supervisor {
  /// How often the front is asked where no manager watches, and how long its answer may take.
  private static let pingInterval = Duration.seconds(5)
  private static let pingDeadline = Duration.seconds(30)
  /// The time that a start asks for, again and again while it goes on.
  private static let startExtension = Duration.seconds(60)
  /// Changes of the status within this time are told as one.
  private static let statusDelay = Duration.milliseconds(200)

  /// The longest that all of the front's event loops may take to answer.
  var pingDeadline: Duration { service.watchdog.map { min($0 / 2, Self.pingDeadline) } ?? Self.pingDeadline }

  /// Begins to watch, and to tell.
  func startService() {
    // A front of before may serve on, on other sockets: then these follow when it leaves.
    if !upgrade.isPending { storeListeners() }
    serviceTick()
  }

  private func serviceTick() {
    serviceTimer = nil
    if service.isThere, !saidReady, phase == .starting || phase == .running {
      service.extendStart(by: Self.startExtension, status: serviceStatus)
    }
    if watchFronts() { service.alive() }
    let interval = service.watchdog.map { min($0 / 4, Self.pingInterval) } ?? Self.pingInterval
    serviceTimer = loop.after(max(interval, .milliseconds(10))) { [unowned self] in serviceTick() }
  }

  /// Asks each front whether its loops run, that of before an upgrade too; one that does not answer in time is killed, once.
  ///
  /// - Returns: whether all is as it should be, or is being seen to.
  private func watchFronts() -> Bool {
    var isWell = true
    if let front, front.isServing {
      isWell = watch(front) {
        tellFront(.ping(number: $0))
      } late: {
        kill(front, $0)
      }
    }
    for generation in upgrade.previous where generation.hasFront {
      let front = generation.front
      // One that leaves may have closed its end already.
      guard generation.serves || front.watch != nil else { continue }
      let previous = watch(front) {
        tell(generation, .ping(number: $0))
      } late: { cause in
        front.child.note(.error, "\(cause.detail): it is killed")
        kill(front, cause)
      }
      isWell = isWell && previous
    }
    return isWell
  }

  private func watch(_ front: FrontRuntime, ask: (UInt32) -> Void, late: (ExitCause) -> Void) -> Bool {
    guard let askedAt = front.pingedAt else {
      front.pings &+= 1
      front.pingedAt = loop.now
      ask(front.pings)
      return true
    }
    guard loop.now - askedAt >= pingDeadline else { return true }
    guard front.cause == nil else { return false }
    late(ExitCause(reason: .deadline, detail: "its event loops did not answer within \(pingDeadline.text)"))
    return true
  }

  /// The front's loops have answered.
  func takePong(_ number: UInt32, from front: FrontRuntime) { if number == front.pings { front.pingedAt = nil } }

  // MARK: telling

  /// Tells how things are, before long; says that start-up is complete once it is: the front serves, and no plugin is
  /// still at its first start.
  func updateService() {
    guard service.isThere, statusTimer == nil else { return }
    if !saidReady {
      // What the host has no room for keeps the others from nothing.
      guard phase == .running, !plugins.contains(where: { $0.machine.state == .starting && !$0.lacksHost }) else {
        return
      }
      saidReady = true
      service.ready(status: serviceStatus)
      return
    }
    statusTimer = loop.after(Self.statusDelay) { [unowned self] in
      statusTimer = nil
      if phase == .running { service.say(serviceStatus) }
    }
  }

  /// Says that the configuration is being read again; `announceReloaded` says that this is over. Between the two the service
  /// manager waits.
  func announceReload() { service.reloading() }

  /// Says that a reload is over, whatever came of it.
  func announceReloaded() { service.ready(status: serviceStatus) }

  /// How things are, on one line for people.
  private var serviceStatus: String {
    func count(_ state: PluginState) -> Int { plugins.count { $0.machine.state == state } }
    switch phase {
    case .starting where front == nil: return "Preparing \(plugins.count) plugins"
    case .starting: return "Starting"
    case .draining: return "Draining for at most \(Self.drainTime.text)"
    case .stopping: return "Stopping"
    case .running: break
    }
    var parts = ["\(count(.ready)) of \(plugins.count) plugins ready"]
    if count(.backoff) > 0 { parts.append("\(count(.backoff)) to be restarted") }
    if count(.quarantined) > 0 {
      let names = plugins.filter { $0.machine.state == .quarantined }.map(\.name)
      parts.append("quarantined: " + names.prefix(5).joined(separator: ", ") + (names.count > 5 ? ", ..." : ""))
    }
    let serving = front?.isServing == true ? "Serving; " : "The front is being replaced; "
    return (upgrade.isPending ? "The front of before the upgrade serves; " : serving) + parts.joined(separator: ", ")
  }

  /// Says that the end has begun.
  func announceStop() { service.stopping(status: serviceStatus) }

  // MARK: the listening sockets

  /// Has the service manager keep the sockets that are ours, so that connections wait in them while no supervisor is there.
  func storeListeners() {
    listeners.letGoOfFormer()
    for name in listeners.forgettable { service.forget(name: name) }
    for socket in listeners.storable {
      let name = InheritedSockets.storedName(of: socket.listener)
      guard ServiceMessage.isStorable(name: name) else {
        if service.isThere {
          note(.warn, "listener \(socket.listener): the service manager cannot store a socket under this name")
        }
        continue
      }
      service.store(socket.descriptor, name: name)
    }
    for socket in listeners.leftovers where !socket.isStored {
      note(
        .warn,
        "the socket '\(LogText.escaped(socket.name, quoted: false))' on \(socket.address) that came with the start is "
          + "no listener's: give it a listener's name (FileDescriptorName=) or address, or take it out of its unit")
    }
    listeners.leftovers = []
    for problem in setup.inherited.problems { note(.warn, problem) }
  }
}
