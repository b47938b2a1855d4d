/// Every revision of every plugin that has, or may have, workers: those that new streams take, those that a reload
/// prepares, and those whose last streams are yet to end. It has no clock and does no I/O: events and a time go in, actions
/// come out.
///
/// A revision's life goes one way: `preparing`, `current`, `retiring`, `ending`, and it is gone. One that is never taken
/// goes from `preparing` to `ending`.
///
/// It promises:
/// - of each plugin at most one revision is current, and the chain has those that are, in the order that was activated;
/// - the workers of a revision are told to go once, when it begins to end, and it is forgotten once, after its workers are
///   gone;
/// - streams keep a revision that was replaced for `drainTime` at most, and those of `maximumRetiringChains` chains.
///
/// Events that make no sense where a revision stands (a second `drained`, an unknown number) change nothing.
struct RevisionTable<Body> {
  /// How far a revision has come.
  enum Life: Hashable {
    /// Its workers start, for a chain that no stream takes yet.
    case preparing
    /// New streams take it.
    case current
    /// It takes no new streams, and stays until those that have it are over.
    case retiring(since: Duration)
    /// Its workers were told to go. It is gone with the last of them.
    case ending
  }

  struct Revision {
    /// On the wire; never another revision's.
    let number: UInt32
    /// The plugin's name.
    let plugin: String
    /// Of the chain that made it what it is: that it is prepared for, that it is in, or that put an end to it.
    fileprivate(set) var generation: UInt32
    fileprivate(set) var life: Life
    let body: Body
    /// The front said that no stream has it, before it said that new streams take a chain without it.
    fileprivate var isDrained = false
  }

  enum Event {
    /// A chain is to be made of revisions that are there and of these.
    case prepare(generation: UInt32, [(number: UInt32, plugin: String, body: Body)])
    /// New streams take the chain of these revisions, in this order.
    case activated(generation: UInt32, chain: [UInt32])
    /// The chain that was to be made will not be.
    case discarded(generation: UInt32)
    /// No stream has that revision any more.
    case drained(UInt32)
    /// The last worker of that revision is gone, or there was none.
    case workersGone(UInt32)
    /// No stream has any of those that were replaced: the front that had them is gone, or all is to end.
    case frontGone
    /// The time of `armTimer` has come.
    case timer
  }

  enum Action: Hashable {
    /// The second one takes over what is counted of the plugin.
    case replaced(UInt32, by: UInt32)
    /// The first of its plugin is current now.
    case added(UInt32)
    /// Tell its workers to go; `workersGone` is then waited for.
    case endWorkers(UInt32)
    /// It is ended though streams have it: they have kept it for too long.
    case keptTooLong(UInt32)
    /// More chains have streams than are kept: the oldest one's revisions are ended.
    case tooManyChains
    /// It is gone.
    case gone(UInt32)
    /// Send `timer` at this time; it replaces the timer before it.
    case armTimer(at: Duration)
    /// The timer is not needed any more.
    case disarmTimer
  }

  /// The longest that streams keep a revision that was replaced; then they end as with a dead worker.
  let drainTime: Duration
  /// More chains whose last streams go on are not kept.
  let maximumRetiringChains: Int
  /// All that are not gone, the oldest first.
  private(set) var revisions: [Revision] = []
  /// The numbers of those that are current, in the order of the chain.
  private var order: [UInt32] = []
  private var armed: Duration?

  init(drainTime: Duration = .seconds(600), maximumRetiringChains: Int = 4) {
    self.drainTime = drainTime
    self.maximumRetiringChains = maximumRetiringChains
  }

  // MARK: what it shows

  /// Those that new streams take, in the order of the chain.
  var chain: [Body] { order.compactMap { number in self[number]?.body } }

  /// All that are not gone: those of the chain, then those that are prepared, then those that were replaced.
  var all: [Body] {
    chain + revisions.filter { $0.life == .preparing }.map(\.body)
      + revisions.filter { $0.life != .preparing && $0.life != .current }.map(\.body)
  }

  /// The revision of that number; nil where it is gone, or never was.
  subscript(number: UInt32) -> Revision? { revisions.first { $0.number == number } }

  /// The current revision of that plugin.
  func current(_ plugin: String) -> Body? {
    revisions.first { $0.plugin == plugin && $0.life == .current }?.body
  }

  /// Some revision of that plugin, whatever has become of it: what belongs to the plugin, it has.
  func any(_ plugin: String) -> Body? { current(plugin) ?? revisions.last { $0.plugin == plugin }?.body }

  // MARK: events

  /// Takes one event and says what to do, in this order.
  mutating func handle(_ event: Event, at now: Duration) -> [Action] {
    var actions: [Action] = []
    switch event {
    case .prepare(let generation, let new): prepare(new, generation)
    case .activated(let generation, let chain): activate(chain, generation, now, &actions)
    case .discarded(let generation):
      forgetDrained()
      end(&actions) { $0.life == .preparing && $0.generation == generation }
    case .drained(let number): drained(number, &actions)
    case .workersGone(let number):
      guard let index = index(of: number), revisions[index].life == .ending else { break }
      revisions.remove(at: index)
      actions.append(.gone(number))
    case .frontGone:
      forgetDrained()
      end(&actions) { $0.isRetiring }
    case .timer:
      armed = nil
      let late = revisions.filter { $0.keptUntil(drainTime).map { $0 <= now } ?? false }.map(\.number)
      actions = late.map { .keptTooLong($0) }
      end(&actions) { late.contains($0.number) }
    }
    setTimer(&actions)
    return actions
  }

  private mutating func prepare(_ new: [(number: UInt32, plugin: String, body: Body)], _ generation: UInt32) {
    for entry in new where index(of: entry.number) == nil {
      revisions.append(
        Revision(
          number: entry.number, plugin: entry.plugin, generation: generation, life: .preparing, body: entry.body))
    }
  }

  private mutating func activate(
    _ chain: [UInt32], _ generation: UInt32, _ now: Duration, _ actions: inout [Action]
  ) {
    var new: [UInt32] = []
    for number in chain where !new.contains(number) {
      guard let revision = self[number], revision.life == .current || revision.life == .preparing,
        !new.contains(where: { self[$0]?.plugin == revision.plugin })
      else { continue }
      new.append(number)
    }
    for number in new {
      guard let index = index(of: number), revisions[index].life == .preparing else { continue }
      let before = revisions.first { $0.plugin == revisions[index].plugin && $0.life == .current }
      actions.append(before.map { .replaced($0.number, by: number) } ?? .added(number))
    }
    for index in revisions.indices {
      if new.contains(revisions[index].number) {
        revisions[index].life = .current
        revisions[index].generation = generation
        revisions[index].isDrained = false
      } else if revisions[index].life == .current {
        revisions[index].life = .retiring(since: now)
        revisions[index].generation = generation
      }
    }
    order = new
    end(&actions) { $0.isRetiring && $0.isDrained }
    let chains = Set(revisions.filter(\.isRetiring).map(\.generation)).sorted()
    guard chains.count > maximumRetiringChains else { return }
    actions.append(.tooManyChains)
    let ended = chains.dropLast(maximumRetiringChains)
    end(&actions) { $0.isRetiring && ended.contains($0.generation) }
  }

  private mutating func drained(_ number: UInt32, _ actions: inout [Action]) {
    guard let index = index(of: number) else { return }
    if revisions[index].life == .current {
      revisions[index].isDrained = true
    } else {
      end(&actions) { $0.number == number && $0.isRetiring }
    }
  }

  /// The chain that would have ended the use of some is none: what the front said of them does not hold any more.
  private mutating func forgetDrained() { for index in revisions.indices { revisions[index].isDrained = false } }

  /// Those of which this holds begin to end.
  private mutating func end(_ actions: inout [Action], where isOver: (Revision) -> Bool) {
    for index in revisions.indices where isOver(revisions[index]) {
      revisions[index].life = .ending
      actions.append(.endWorkers(revisions[index].number))
    }
  }

  private mutating func setTimer(_ actions: inout [Action]) {
    let wanted = revisions.compactMap { $0.keptUntil(drainTime) }.min()
    guard wanted != armed else { return }
    armed = wanted
    actions.append(wanted.map { .armTimer(at: $0) } ?? .disarmTimer)
  }

  private func index(of number: UInt32) -> Int? { revisions.firstIndex { $0.number == number } }
}

extension RevisionTable.Revision {
  /// Whether streams may have it that new ones do not take.
  var isRetiring: Bool { if case .retiring = life { true } else { false } }

  /// Until when its last streams may keep it; nil where it is not on its way out.
  fileprivate func keptUntil(_ drainTime: Duration) -> Duration? {
    if case .retiring(let since) = life { since + drainTime } else { nil }
  }
}
