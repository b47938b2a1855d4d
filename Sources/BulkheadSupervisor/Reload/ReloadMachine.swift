/// Decides how a reload goes on: events and a time go in, actions come out. It has no clock and does no I/O.
///
/// It promises:
/// - one reload at a time, and each that has begun ends once, with `end`;
/// - new streams take the new chain only once all workers that it needs are ready, and nothing is taken over before the
///   front has said that they do;
/// - where it fails, what the front was told of the new chain is taken back, and nothing is taken over;
/// - a timer is armed while workers or the front are waited for, and at no other time.
///
/// Events that make no sense where it stands (the front's word on another chain, a late timer) change nothing.
struct ReloadMachine {
  /// Where it stands.
  enum Stage: Hashable, CaseIterable {
    /// Nothing is reloaded.
    case idle
    /// Modules are read and compiled.
    case modules
    /// Workers of new and changed plugins start.
    case workers
    /// The front is to give new streams the new chain.
    case activating
  }

  /// Why nothing was changed.
  enum Failure: Hashable {
    /// Modules are refused, or something cannot be read or made: what, for people, with lines that say more.
    case refused(String, [String] = [])
    /// The worker of a plugin failed.
    case plugin(UInt32)
    /// These plugins were not ready in time.
    case late([UInt32])
    /// The front does not take the chain: its words.
    case chain(String)
    /// It cannot go on, through no fault of the configuration.
    case interrupted(String)
  }

  /// How it ends.
  enum Ending: Hashable {
    /// It was to say what would change, and that is known.
    case checked
    /// Its chain is the one of before.
    case unchanged
    /// New streams take its chain.
    case taken
    case failed(Failure)
  }

  enum Event: Hashable {
    /// The files are read, and nothing in them keeps them from being taken over.
    ///
    /// - Parameter isCheck: it is only to be said what would change.
    case begin(generation: UInt32, isCheck: Bool)
    /// The modules are there, and compared with what runs.
    ///
    /// - Parameters:
    ///   - fresh: revisions that the new chain needs and that no worker runs yet.
    ///   - isAnother: the chain is not the one of before.
    ///   - time: the longest that the workers may take.
    case compared(fresh: [UInt32], isAnother: Bool, time: Duration)
    /// Something about the workers changed: these of the fresh revisions have too few that are ready.
    case looked(late: [UInt32])
    /// A worker of that revision failed, and the next one waits.
    case failed(UInt32)
    /// The front says that new streams take that chain.
    case activated(generation: UInt32)
    /// The front does not take that chain.
    case refused(generation: UInt32, String)
    /// The time of `armTimer` has come.
    case timer
    /// It cannot go on.
    case impossible(Failure)
  }

  enum Action: Hashable {
    /// Read, and compile where it has to be, the modules of all plugins: `compared` or `impossible` is then waited for.
    case prepareModules
    /// What still reads or compiles is of no use any more.
    case cancelModules
    /// Tell the front of the new chain.
    case prepareChain(generation: UInt32)
    /// Start the workers of these revisions.
    case startWorkers([UInt32])
    /// Have the front give new streams the new chain.
    case activateChain(generation: UInt32)
    /// The front took no new chain in time: it may yet do so, and only a new front surely has the chain of before.
    case killFront
    /// The new chain is the one that holds.
    case takeOver(generation: UInt32)
    /// The chain will not be: tell the front, and end what was started for it.
    case discardChain(generation: UInt32)
    /// Send `timer` at this time; it replaces the timer before it.
    case armTimer(at: Duration)
    /// The timer is not needed any more.
    case disarmTimer
    /// It is over. The last action.
    case end(Ending)
  }

  /// The longest that the front may take to give new streams another chain.
  static let activationTime = Duration.seconds(10)

  private(set) var stage = Stage.idle
  /// Of the chain that it makes.
  private(set) var generation: UInt32 = 0
  private(set) var isCheck = false
  private var fresh: [UInt32] = []
  private var late: [UInt32] = []
  /// What waits for the timer: the workers, or the front.
  private var due: Duration?

  /// Whether that revision is one that it waits for.
  func awaits(_ number: UInt32) -> Bool { stage == .workers && fresh.contains(number) }

  /// Takes one event and says what to do, in this order.
  mutating func handle(_ event: Event, at now: Duration) -> [Action] {
    var actions: [Action] = []
    switch (stage, event) {
    case (.idle, .begin(let generation, let isCheck)):
      self = ReloadMachine()
      stage = .modules
      self.generation = generation
      self.isCheck = isCheck
      actions = [.prepareModules]
    case (.modules, .compared(let fresh, let isAnother, let time)):
      if isCheck {
        end(.checked, &actions)
      } else if !isAnother {
        end(.unchanged, &actions)
      } else {
        start(fresh, time, now, &actions)
      }
    case (.workers, .looked(let late)):
      self.late = late.filter { fresh.contains($0) }
      activateIfReady(now, &actions)
    case (.workers, .failed(let number)) where fresh.contains(number): fail(.plugin(number), &actions)
    case (.workers, .timer):
      guard let due, now >= due else { break }
      self.due = nil
      fail(.late(late), &actions)
    case (.activating, .timer):
      guard let due, now >= due else { break }
      self.due = nil
      actions = [.killFront]
    case (.activating, .activated(generation)):
      actions = [.takeOver(generation: generation)]
      end(.taken, &actions)
    case (.workers, .refused(generation, let words)), (.activating, .refused(generation, let words)):
      fail(.chain(words), &actions)
    case (.modules, .impossible(let failure)), (.workers, .impossible(let failure)),
      (.activating, .impossible(let failure)):
      fail(failure, &actions)
    default: break
    }
    return actions
  }

  private mutating func start(_ fresh: [UInt32], _ time: Duration, _ now: Duration, _ actions: inout [Action]) {
    stage = .workers
    self.fresh = fresh
    late = fresh
    due = now + time
    actions = [.prepareChain(generation: generation), .armTimer(at: now + time)]
    if !fresh.isEmpty { actions.append(.startWorkers(fresh)) }
    activateIfReady(now, &actions)
  }

  private mutating func activateIfReady(_ now: Duration, _ actions: inout [Action]) {
    guard late.isEmpty else { return }
    stage = .activating
    // The workers had theirs: what is left of it says nothing of the front.
    due = now + Self.activationTime
    actions += [.activateChain(generation: generation), .armTimer(at: now + Self.activationTime)]
  }

  private mutating func fail(_ failure: Failure, _ actions: inout [Action]) {
    actions.append(stage == .modules ? .cancelModules : .discardChain(generation: generation))
    end(.failed(failure), &actions)
  }

  private mutating func end(_ ending: Ending, _ actions: inout [Action]) {
    if due != nil { actions.append(.disarmTimer) }
    self = ReloadMachine()
    actions.append(.end(ending))
  }
}
