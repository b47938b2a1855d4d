import BulkheadControl

/// Decides how this program takes over from the one before it, and how the next one takes over from this: events, what is
/// seen, and a time go in, actions come out. It has no clock and does no I/O.
///
/// It promises:
/// - the traffic is taken over once, by a front that serves, and never while another program is tried or about to be
///   executed;
/// - nothing is executed but what was tried, or what this program goes back to, and only when all is quiet;
/// - it goes back at most once, to the program that served last, and only after this one has failed;
/// - a wait for quiet ends, by an execution or a failure; so does a trial.
///
/// Events that make no sense where it stands change nothing.
struct UpgradeMachine {
  /// How far this program has taken over.
  enum Takeover: Hashable, CaseIterable {
    /// No front of before takes the traffic.
    case none
    /// One does, until this program's front and workers are ready.
    case pending
    /// What that front has, such as shared data, is on its way to this program's front.
    case carrying
  }

  /// How far the next program has come.
  enum Attempt: Hashable {
    /// There is none.
    case none
    /// It is being tried.
    case checking
    /// It is to be executed, once all is quiet: it, or the program that served last.
    case waiting(until: Duration, goesBack: Bool)
  }

  /// What is seen at the end of a round.
  struct Sight: Hashable {
    /// The supervisor does not stop.
    var isRunning = true
    /// The front has come to serve, now or before this program failed.
    var mayExecute = true
    var hasFront = true
    var frontServes = true
    /// Nothing is on its way that cannot be handed over.
    var isQuiet = true
    /// Some plugins are not as ready as they were.
    var isLate = false
    /// Waiting for them, or for the front, is of no use.
    var isHopeless = false
    /// A plugin that is ready here has no worker of before left, and nobody replaces it there.
    var hasLost = false
  }

  enum Failure: Hashable {
    /// The trial: what is wrong, for people.
    case trial(String)
    case stops
    case notQuiet
    /// The front does not serve, or plugins are not ready.
    case notReady
    /// It could not be executed: why, for people.
    case execution(String)
  }

  enum Event: Hashable {
    /// This program was executed in place of another one.
    ///
    /// - Parameters:
    ///   - isServed: whether a front of before takes the traffic.
    ///   - hasFailed: whether another program has failed since that one served.
    ///   - mayGoBack: whether there is a program to go back to.
    ///   - isBack: whether this is that one.
    case adopted(isServed: Bool, hasFailed: Bool, mayGoBack: Bool, isBack: Bool)
    /// This program's front and workers have until then.
    case deadline(Duration)
    /// An operator wants the newly installed program in this one's place.
    case requested
    /// It was tried; with what is wrong, for people.
    case checked(problem: String?)
    /// A round is over.
    case looked(Sight)
    /// What the front of before has is here, or does not come.
    case carried(frontServes: Bool)
    /// The front that took the traffic has ended.
    case previousEnded
    /// No front of before, and none of its workers, is left.
    case allPreviousGone
    /// The execution came to nothing.
    case notExecuted(String)
    /// The end has begun: the front of before finishes what it has under way, as this one's does.
    case stopped
  }

  enum Action: Hashable {
    /// Try the newly installed program: `checked` is then waited for.
    case check
    /// Have the front of before leave what it has, and this one's take it: `carried` is then waited for.
    case carry
    /// Say that the traffic is taken though some are not ready.
    case sayLost
    /// Have this program's front accept, and that of before leave.
    case takeTraffic
    /// The front of before has ended by itself: have this program's front accept.
    case acceptAlone
    /// Kill this program's front and workers: they never served, and cannot be handed over.
    case killOwn
    /// Execute the program now; `notExecuted` follows where that fails.
    case execute(goesBack: Bool)
    /// Say that it failed.
    case fail(Failure)
    /// All that was of before is gone.
    case done
    /// Have `looked` said at that time, whatever happens.
    case armTimer(at: Duration)
  }

  /// The longest that starting workers and unsent messages hold an upgrade up.
  static let quietTime = Duration.seconds(10)

  private(set) var takeover = Takeover.none
  private(set) var attempt = Attempt.none
  /// Of the last upgrade; nil where there was none.
  private(set) var state: UpgradeInfo.State?
  /// The next program did not come to serve, so this one was executed again.
  private(set) var isBack = false
  private var mayGoBack = false
  private var deadline: Duration?

  /// The next program is being tried, or about to be executed, while this one may not have been decided yet.
  var isTryingAnother: Bool { attempt != .none }
  /// A front of before still takes the traffic.
  var isPending: Bool { takeover != .none }
  /// It has begun and is not decided: nothing else may change.
  var isUnderWay: Bool { isTryingAnother || isPending }
  /// What is to be executed is the program before this one.
  var goesBack: Bool { if case .waiting(_, true) = attempt { true } else { false } }
  /// The last upgrade failed, and what served before that still does: nothing goes on by itself.
  var isStuck: Bool { isPending && !isTryingAnother && state == .failed }

  /// Takes one event and says what to do, in this order.
  mutating func handle(_ event: Event, at now: Duration) -> [Action] {
    var actions: [Action] = []
    switch event {
    case .adopted(let isServed, let hasFailed, let mayGoBack, let isBack):
      takeover = isServed ? .pending : .none
      state = hasFailed ? .failed : .starting
      self.mayGoBack = mayGoBack && !isBack
      self.isBack = isBack
    case .deadline(let time):
      guard isPending else { break }
      deadline = time
      actions = [.armTimer(at: time)]
    case .requested:
      guard attempt == .none, takeover != .carrying, !isPending || state != .starting else { break }
      attempt = .checking
      state = .checking
      actions = [.check]
    case .checked(let problem):
      guard attempt == .checking else { break }
      attempt = .none
      if let problem { fail(.trial(problem), &actions) } else { wait(goesBack: false, now, &actions) }
    case .looked(let sight):
      switch attempt {
      case .none: lookAtTakeover(sight, now, &actions)
      case .checking: break
      case .waiting(let end, let goesBack): lookWhetherQuiet(sight, end, goesBack, now, &actions)
      }
    case .carried(let frontServes):
      guard takeover == .carrying else { break }
      takeover = .pending
      if frontServes { take(.takeTraffic, &actions) }
    case .previousEnded: if isPending { take(.acceptAlone, &actions) }
    case .allPreviousGone:
      guard state == .draining else { break }
      state = .done
      actions = [.done]
    case .notExecuted(let why):
      guard case .waiting = attempt else { break }
      attempt = .none
      fail(.execution(why), &actions)
    case .stopped: takeover = .none
    }
    return actions
  }

  private mutating func lookAtTakeover(_ sight: Sight, _ now: Duration, _ actions: inout [Action]) {
    guard takeover == .pending, sight.isRunning else { return }
    let isOver = deadline.map { now >= $0 } ?? false || sight.isHopeless
    if sight.frontServes, !sight.isLate || (isOver && sight.hasLost) {
      takeover = .carrying
      actions = (sight.isLate ? [.sayLost] : []) + [.carry]
      return
    }
    // A failure is said once; what becomes ready later is taken all the same.
    guard isOver, state == .starting else { return }
    fail(.notReady, &actions)
    guard mayGoBack, sight.mayExecute else { return }
    mayGoBack = false
    wait(goesBack: true, now, &actions)
  }

  private mutating func wait(goesBack: Bool, _ now: Duration, _ actions: inout [Action]) {
    attempt = .waiting(until: now + Self.quietTime, goesBack: goesBack)
    actions.append(.armTimer(at: now + Self.quietTime))
  }

  private mutating func lookWhetherQuiet(
    _ sight: Sight, _ end: Duration, _ goesBack: Bool, _ now: Duration, _ actions: inout [Action]
  ) {
    guard sight.mayExecute else {
      attempt = .none
      return fail(.stops, &actions)
    }
    // Without a front its workers could not be handed over; and what never served makes room for the next attempt.
    if isPending, !sight.hasFront || sight.isQuiet { actions.append(.killOwn) }
    if sight.isQuiet {
      actions.append(.execute(goesBack: goesBack))
    } else if now >= end {
      attempt = .none
      fail(.notQuiet, &actions)
    }
  }

  private mutating func take(_ action: Action, _ actions: inout [Action]) {
    takeover = .none
    deadline = nil
    mayGoBack = false
    actions.append(action)
    // Another one is being tried: its own say is what comes of this one.
    guard !isTryingAnother else { return }
    // Where it is back, the upgrade has failed, and that is what it is known for.
    if !isBack { state = .draining }
    isBack = false
  }

  /// A failure is said once, until something else is tried: what keeps this program from going back changes nothing.
  private mutating func fail(_ failure: Failure, _ actions: inout [Action]) {
    guard state != .failed else { return }
    state = .failed
    actions.append(.fail(failure))
  }
}
