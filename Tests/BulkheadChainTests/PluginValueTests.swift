import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain

private let second: UInt64 = 1_000_000_000

/// Who waits for a plugin's workers, and who comes back to wait on.
@Suite struct AdmissionValueTests {
  private static func waiter(
    _ stream: UInt32, _ part: AdmissionQueue.Part = .headers, until: UInt64 = 100
  ) -> AdmissionQueue.Waiter {
    AdmissionQueue.Waiter(stream: stream, place: 0, part: part, until: until, since: 0, limit: until)
  }

  /// Who is tried next where everything is there.
  private static func attempt(_ admission: inout Admission) throws -> Admission.Attempt {
    let next = admission.next(takesNew: true, laneTakes: true)
    return try #require(next)
  }

  @Test func whoComesBackHasNoMoreTimeAndKeepsItsPlace() throws {
    var admission = Admission()
    for stream in 1...3 as ClosedRange<UInt32> {
      admission.join(Self.waiter(stream, until: 100 + UInt64(stream)), for: .worker)
    }
    let attempt = try Self.attempt(&admission)
    #expect(attempt.waiter.stream == 1)
    let outer = admission.begins(attempt)
    #expect(admission.isTried(1))
    #expect(!admission.isTried(2))
    let until = admission.comesBack(Self.waiter(1, until: 900), for: .worker)
    #expect(until == 101)
    // It is being tried no more, and nobody behind it is before the next round.
    #expect(!admission.isTried(1))
    admission.ends(outer)
    let next = admission.next(takesNew: true, laneTakes: true)
    #expect(next == nil)
    admission.beginRound()
    let streams = (0..<3).map { _ in admission.next(takesNew: true, laneTakes: true)?.waiter.stream }
    #expect(streams == [1, 2, 3])
  }

  /// It has found a worker, and waits for room on its ring now.
  @Test func whoComesBackForSomethingElseStandsThere() throws {
    var admission = Admission()
    admission.join(Self.waiter(1), for: .worker)
    admission.join(Self.waiter(2, until: 200), for: .worker)
    let attempt = try Self.attempt(&admission)
    _ = admission.begins(attempt)
    let until = admission.comesBack(Self.waiter(1), for: .ring(7))
    #expect(until == 100)
    #expect(admission.queue.count(for: .ring(7)) == 1)
    let next = admission.next(takesNew: true, laneTakes: true)
    #expect(next?.waiter.stream == 1)
  }

  @Test func anotherPartOfItIsNotTheOneThatIsTried() throws {
    var admission = Admission()
    admission.join(Self.waiter(1), for: .worker)
    let attempt = try Self.attempt(&admission)
    _ = admission.begins(attempt)
    let others = [
      admission.comesBack(Self.waiter(1, .requestBody), for: .worker),
      admission.comesBack(Self.waiter(2), for: .worker),
    ]
    #expect(others == [nil, nil])
    #expect(admission.isTried(1))
  }

  /// What one that is tried does may have others tried.
  @Test func attemptsStandInEachOther() throws {
    var admission = Admission()
    admission.join(Self.waiter(1), for: .worker)
    admission.join(Self.waiter(2), for: .worker)
    let outermost = try Self.attempt(&admission)
    let first = admission.begins(outermost)
    #expect(first == nil)
    let inner = try Self.attempt(&admission)
    let second = admission.begins(inner)
    #expect(admission.isTried(2))
    admission.ends(second)
    #expect(admission.isTried(1))
    admission.ends(first)
    #expect(!admission.isTried(1))
  }

  @Test(
    arguments: [
      (true, true, [1, 2, 3]), (false, true, [2, 3]), (true, false, [1, 3]), (false, false, [3]),
    ])
  func whoNeedsWhatIsNotThereIsNotTried(takesNew: Bool, laneTakes: Bool, expected: [UInt32]) {
    var admission = Admission()
    admission.join(Self.waiter(1), for: .worker)
    admission.join(Self.waiter(2), for: .lane)
    admission.join(Self.waiter(3), for: .body(1))
    var streams: [UInt32] = []
    while let next = admission.next(takesNew: takesNew, laneTakes: laneTakes) { streams.append(next.waiter.stream) }
    #expect(streams == expected)
    #expect(admission.hasWaiters == (expected.count < 3))
  }

  @Test(
    arguments: [
      // That wait for a worker, for the lane; whether one more may wait for the one, or the other.
      (0, 0, false, false), (ChainLimits.maximumWaiters - 1, 0, false, false),
      (ChainLimits.maximumWaiters, 0, true, true), (0, Admission.maximumSuspects - 1, false, false),
      (0, Admission.maximumSuspects, false, true),
      (ChainLimits.maximumWaiters - Admission.maximumSuspects, Admission.maximumSuspects, true, true),
    ])
  func soManyMayWait(workers: Int, suspects: Int, isFull: Bool, laneIsFull: Bool) {
    var admission = Admission()
    for _ in 0..<workers { admission.join(Self.waiter(1), for: .worker) }
    for _ in 0..<suspects { admission.join(Self.waiter(1), for: .lane) }
    #expect(admission.isFull(for: .worker) == isFull)
    #expect(admission.isFull(for: .ring(1)) == isFull)
    #expect(admission.isFull(for: .lane) == laneIsFull)
  }

  // MARK: In vain

  @Test(
    arguments: [
      // The last starts in s, the next one due in s, since when one starts in s; and why nobody waits up to 2 s.
      ([], nil, nil, nil),
      ([], 1, nil, nil),
      ([], 3, nil, "no worker becomes ready within 2000 ms: the next start is due in 3000 ms"),
      ([5, 1], 1, nil, nil),
      ([5, 2], 1, nil, "no worker becomes ready within 2000 ms: the next start is due in 1000 ms"),
      // One that starts already comes before any that is due.
      ([], 3, 0, nil),
      ([4, 3], nil, 1, nil),
      ([4, 3], nil, 0, "no worker becomes ready within 2000 ms: a start takes 3000 ms"),
      ([4, 3], 1, 0, "no worker becomes ready within 2000 ms: a start takes 3000 ms"),
    ] as [([UInt64], UInt64?, UInt64?, String?)])
  func nobodyWaitsForAWorkerThatCannotComeInTime(
    last: [UInt64], due: UInt64?, starting: UInt64?, expected: String?
  ) {
    let now = 100 * second
    var starts = StartTimes()
    for time in last { starts.add(time * second) }
    if let due { starts.nextStart = now + due * second }
    let why = starts.whyInVain(
      until: now + 2 * second, limit: 2 * second, starting: starting.map { now - $0 * second }, now: now)
    #expect(why == expected)
  }
}

/// Room that streams have not found.
@Suite struct WantedRoomTests {
  @Test func roomIsMadeOnceAtATime() {
    var room = WantedRoom()
    var makes = [room.want(.ofStreams, now: 5), room.want(.ofStreams, now: 6), room.want(.ofBodies(1), now: 7)]
    #expect(makes == [true, false, false])
    #expect(room.wanted == [.ofStreams, .ofBodies(1)])
    #expect(room.since == 5)
    var begins = [room.begin(), room.begin()]
    #expect(begins == [true, false])
    makes = [room.want(.ofBodies(2), now: 8)]
    #expect(makes == [false])
    room.end()
    makes = [room.want(.ofBodies(3), now: 9)]
    #expect(makes == [true])
    // The timer may come first.
    begins = [room.begin()]
    #expect(begins == [true])
  }

  @Test func whoStillFindsNoneHasWantedItAllTheTime() {
    var room = WantedRoom()
    _ = room.want(.ofStreams, now: 5)
    var since = room.beginRound()
    #expect(room.isEmpty)
    _ = room.want(.ofBodies(1), now: 50)
    var isWanted = room.isStillWanted(since: since)
    #expect(isWanted)
    #expect(room.since == 5)
    since = room.beginRound()
    isWanted = room.isStillWanted(since: since)
    #expect(!isWanted)
    _ = room.want(.ofStreams, now: 60)
    #expect(room.since == 60)
  }

  @Test func whereNobodyDawdlesItIsLookedForLater() {
    var room = WantedRoom()
    room.rests(until: 10)
    let makes = [room.want(.ofStreams, now: 9), room.want(.ofStreams, now: 10)]
    #expect(makes == [false, true])
  }

  @Test(arguments: [(5, 100, 5, 100), (5, 100, 45, 60), (5, 100, 105, 0), (5, 100, 1_000, 0), (5, 100, 1, 100)])
  func theLongerItIsWantedTheLessPatienceThereIs(since: UInt64, patience: UInt64, now: UInt64, least: UInt64) {
    var room = WantedRoom()
    _ = room.want(.ofStreams, now: since)
    #expect(room.least(of: patience, now: now) == least)
  }

  @Test(
    arguments: [
      ([], false, false), ([.ofStreams], true, false), ([.ofBodies(1)], true, true), ([.ofBodies(2)], false, false),
      ([.ofBodies(2), .ofStreams], true, false),
    ] as [([WantedRoom.Room], Bool, Bool)])
  func roomIsOfUseWhereItIsWanted(wanted: [WantedRoom.Room], inServing: Bool, inStandby: Bool) {
    var room = WantedRoom()
    for one in wanted { _ = room.want(one, now: 1) }
    #expect(room.isOfUse(in: 1, isServing: true) == inServing)
    #expect(room.isOfUse(in: 1, isServing: false) == inStandby)
    room.forget()
    #expect(!room.isOfUse(in: 1, isServing: true))
  }
}

/// Requests that run long, by worker.
@Suite struct LongRequestTests {
  @Test func aWorkerIsAtOneOfThem() {
    var long = LongRequests()
    #expect(long.isEmpty)
    long.begins(7, in: 1)
    long.begins(7, in: 2)
    long.begins(8, in: 1)
    #expect(long.count == 2)
    #expect([long.request(in: 1), long.request(in: 2), long.request(in: 3)] == [8, 7, nil])
    #expect([long.worker(at: 7), long.worker(at: 8), long.worker(at: 9)] == [2, 1, nil])
    long.ends(in: 2)
    long.ends(in: 3)
    #expect(long.count == 1)
    #expect(long.worker(at: 7) == nil)
  }
}

/// The lane for suspects, and what the supervisor is asked for and told.
@Suite struct SuspectLaneTests {
  private static func lane() -> SuspectLane {
    var plugin = FrontBootstrap.Plugin.engine(.http)
    plugin.suspectMemory = 60_000
    plugin.suspectsAtMost = 16
    return SuspectLane(PluginSettings(plugin))
  }

  private static let killer = Fingerprint(request: 1, shape: 2, client: 3)

  @Test func moreDeathsThanThereCanBeAreNotBelieved() {
    var lane = Self.lane()
    #expect(lane.isEmpty)
    var believed = 0
    for _ in 0..<2 * SuspectLane.mostDeaths where lane.died(of: Self.killer, now: 100 * second) { believed += 1 }
    #expect(believed == SuspectLane.mostDeaths)
    #expect(!lane.isEmpty)
    let late = [
      lane.died(of: Self.killer, now: 100 * second + second - 1), lane.died(of: Self.killer, now: 101 * second),
    ]
    #expect(late == [false, true])
  }

  @Test(
    arguments: [
      (.starting, nil), (.ready, nil), (.backoff, "waits to start again"), (.quarantined, "has spent its crash budget"),
    ] as [(PluginState, String?)])
  func aLaneThatDoesNotOpenSaysWhy(state: PluginState, why: String?) {
    var lane = Self.lane()
    lane.set(state)
    #expect(lane.state == state)
    if let why {
      #expect(lane.whyClosed?.hasSuffix("the lane for suspects \(why)") == true)
    } else {
      #expect(lane.whyClosed == nil)
    }
  }

  @Test func theLaneIsAskedForOnceASecondUntilItsStateChanges() {
    var lane = Self.lane()
    var asks = [0, 1, second - 1, second, second + 1].map { lane.asksForLane(now: 100 * second + $0) }
    #expect(asks == [true, false, false, true, false])
    lane.set(.starting)
    asks = [lane.asksForLane(now: 101 * second + 2)]
    #expect(asks == [true])
  }

  @Test func suspectsAmongWhatWasSentAreLookedForOnce() {
    var lane = Self.lane()
    let begins = [lane.beginsSortingOut(), lane.beginsSortingOut()]
    #expect(begins == [true, false])
    lane.sortedOut()
    let again = lane.beginsSortingOut()
    #expect(again)
  }

  @Test func workIsToldOnce() {
    var reported = ReportedWork()
    var counters = PluginCounters()
    func take() -> [UInt64]? {
      let news = reported.take(counters)
      return news.map { [$0.requests, $0.suspects] }
    }
    #expect(take() == nil)
    counters.answeredStreams = 10
    counters.answeredSuspects = 4
    #expect(take() == [6, 4])
    #expect(take() == nil)
    counters.answeredStreams = 12
    #expect(take() == [2, 0])
  }
}

/// Which of a plugin's workers take what is new.
@Suite struct KnownWorkerTests {
  /// A plugin of which two workers serve, with so many ready ones.
  private func workers(_ count: Int) throws -> (harness: EngineHarness, workers: [EngineWorker]) {
    var plugin = FrontBootstrap.Plugin.engine(.requestHeaders)
    plugin.workers = 2
    let harness = try EngineHarness([plugin])
    return (harness, try (0..<count).map { _ in try harness.addWorker() })
  }

  private func numbers(_ links: [WorkerLink]) -> [UInt64] { links.map(\.worker) }

  @Test func theOldestServeAndAStandbyTakesOverAtOnce() throws {
    let (harness, workers) = try workers(3)
    let known = { harness.plugin().workers }
    #expect(numbers(known().all) == [1, 2, 3])
    #expect(numbers(known().serving) == [1, 2])
    #expect(known().first === workers[0].link)
    workers[0].die()
    #expect(numbers(known().serving) == [2, 3])
    #expect(numbers(known().all) == [2, 3])
    workers[1].link.retire()
    #expect(numbers(known().serving) == [3])
    #expect(numbers(known().all) == [2, 3])
    workers[2].die()
    #expect(known().first == nil)
  }

  @Test func aWorkerThatStartsIsKnownAndTakesNothing() throws {
    let (harness, _) = try workers(1)
    let next = try harness.addWorker(ready: false)
    #expect(numbers(harness.plugin().workers.all) == [1, 2])
    #expect(numbers(harness.plugin().workers.serving) == [1])
    #expect(harness.plugin().workers.startingSince == harness.loop.now)
    next.link.becomeReady()
    #expect(numbers(harness.plugin().workers.serving) == [1, 2])
    #expect(harness.plugin().workers.startingSince == nil)
  }

  @Test func theLaneServesNobodyElse() throws {
    let (harness, _) = try workers(1)
    let lane = try harness.addWorker(isLane: true)
    let known = harness.plugin().workers
    #expect(numbers(known.all) == [1])
    #expect(numbers(known.lanes) == [2])
    #expect(known.lane === lane.link)
    #expect(numbers(known.serving) == [1])
  }

  @Test func whatIsNewGoesToTheOneWithLeastToDoThatHasRoom() throws {
    let (harness, workers) = try workers(2)
    func current() -> UInt64? { harness.plugin().current(for: 100)?.worker }
    #expect(current() == 1)
    workers[0].link.hold(0)
    #expect(current() == 2)
    workers[1].link.hold(ChainLimits.heldBytes)
    #expect(current() == 1)
    // Where none has room, the first one is to say so.
    workers[0].link.holdMore(ChainLimits.heldBytes)
    #expect(current() == 1)
    workers[1].link.letGo(ChainLimits.heldBytes)
    #expect(current() == 2)
  }

  @Test func whereARingIsFullTheNextOneInOrderIsAsked() throws {
    let (harness, workers) = try workers(2)
    func next(_ place: Int, since start: Int) -> UInt64? {
      harness.plugin().workers.next(after: workers[place].link, since: workers[start].link, for: 100)?.worker
    }
    #expect(next(0, since: 0) == 2)
    #expect(next(1, since: 0) == nil)
    #expect(next(1, since: 1) == 1)
    workers[1].link.hold(ChainLimits.heldBytes)
    #expect(next(0, since: 0) == nil)
    workers[1].die()
    #expect(next(0, since: 0) == nil)
  }

  /// The last free worker is not for a request that already holds up another one.
  @Test func aTwinOfWhatRunsLongWaitsBehindItWhereOneWorkerIsFree() throws {
    let (harness, workers) = try workers(2)
    let twin = Fingerprint(request: 5, shape: 6, client: 7)
    func at() -> UInt64? { harness.plugin().workers.worker(atTwinOf: twin)?.worker }
    #expect(at() == nil)
    harness.plugin().learnStands(at: 5, in: workers[0].number)
    #expect(at() == 1)
    // Of a worker that is not there nothing is learned.
    harness.plugin().learnStands(at: 5, in: 77)
    #expect(harness.plugin().workers.long.count == 1)
    harness.plugin().learnStands(at: nil, in: workers[0].number)
    #expect(at() == nil)
    harness.plugin().learnStands(at: 5, in: workers[1].number)
    workers[1].die()
    #expect(harness.plugin().workers.long.isEmpty)
  }
}
