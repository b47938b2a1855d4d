/// What the service manager is told, and when: that the start goes on, that it is complete, and how things are. It belongs
/// to the loop's thread.
///
/// The chain of watching: the service manager watches the supervisor's loop, which watches the front's. A front that stands
/// still is killed and replaced here; only where that does not help does the manager hear nothing and replace everything.
final class ServiceKeeper {
  enum Event {
    /// The fronts are to be asked whether their loops run, and the manager to be told that this one does.
    case watchIsDue
    /// The status may have changed a while ago.
    case statusIsDue
  }

  /// How often the front is asked where no manager watches, and how long its answer may take.
  private static let watchInterval = Duration.seconds(5)
  private static let answerTime = Duration.seconds(30)
  /// The time that a start asks for, again and again while it goes on.
  private static let startExtension = Duration.seconds(60)
  /// Changes of the status within this time are told as one.
  private static let statusDelay = Duration.milliseconds(200)

  private let manager: ServiceManager
  private let queue: EventQueue
  private var watchTimer: TimerQueue.Token?
  private var statusTimer: TimerQueue.Token?
  private var saidReady = false

  /// Whether somebody listens.
  var isThere: Bool { manager.isThere }
  /// The longest that all of a front's event loops may take to answer.
  var answerTime: Duration { manager.watchdog.map { min($0 / 2, Self.answerTime) } ?? Self.answerTime }

  init(_ manager: ServiceManager, _ queue: EventQueue) {
    self.manager = manager
    self.queue = queue
  }

  /// Says that the start goes on, where it does, and that this loop runs.
  ///
  /// - Parameters:
  ///   - isWell: asks the fronts, and says whether all is as it should be.
  ///   - isStarting: whether nothing has ended the start.
  func watch(isStarting: Bool, status: () -> String, isWell: () -> Bool) {
    watchTimer = nil
    if isThere, !saidReady, isStarting { manager.extendStart(by: Self.startExtension, status: status()) }
    if isWell() { manager.alive() }
    let interval = manager.watchdog.map { min($0 / 4, Self.watchInterval) } ?? Self.watchInterval
    watchTimer = queue.after(max(interval, .milliseconds(10)), .service(.watchIsDue))
  }

  /// Tells how things are, before long; says that start-up is complete once it is.
  func update(isStarted: @autoclosure () -> Bool, status: () -> String) {
    guard isThere, statusTimer == nil else { return }
    if !saidReady {
      guard isStarted() else { return }
      saidReady = true
      manager.ready(status: status())
      return
    }
    statusTimer = queue.after(Self.statusDelay, .service(.statusIsDue))
  }

  /// Tells it now: nil where there is nothing to be told any more.
  func sayStatus(_ status: String?) {
    statusTimer = nil
    if let status { manager.say(status) }
  }

  /// Says that the configuration is being read again; `reloaded` says that this is over. Between the two the service manager
  /// waits.
  func reloading() { manager.reloading() }

  /// Says that a reload is over, whatever came of it.
  func reloaded(status: String) { manager.ready(status: status) }

  /// Says that the end has begun.
  func stopping(status: String) { manager.stopping(status: status) }

  // MARK: the listening sockets

  /// Has the service manager keep the sockets that are ours, so that connections wait in them while no supervisor is there.
  func store(_ listeners: ListenerSockets, _ inherited: InheritedSockets, _ chronicle: Chronicle) {
    listeners.letGoOfFormer()
    for name in listeners.forgettable { manager.forget(name: name) }
    for socket in listeners.storable {
      let name = InheritedSockets.storedName(of: socket.listener)
      guard ServiceMessage.isStorable(name: name) else {
        if isThere {
          chronicle.note(
            .warn, "listener \(socket.listener): the service manager cannot store a socket under this name")
        }
        continue
      }
      manager.store(socket.descriptor, name: name)
    }
    for socket in listeners.leftovers where !socket.isStored {
      chronicle.note(
        .warn,
        "the socket '\(LogText.escaped(socket.name, quoted: false))' on \(socket.address) that came with the start is "
          + "no listener's: give it a listener's name (FileDescriptorName=) or address, or take it out of its unit")
    }
    listeners.leftovers = []
    for problem in inherited.problems { chronicle.note(.warn, problem) }
  }
}
