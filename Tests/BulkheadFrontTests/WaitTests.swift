import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Glibc
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// How long a stream may wait for workers in all.
@Suite struct WaitAllowanceTests {
  @Test func whatWasWaitedForOnePluginIsNotLeftForTheNext() {
    var waits = WaitAllowance()
    let first = waits.left(of: 1_000)
    waits.spend(from: 5_000, to: 5_600)
    let second = waits.left(of: 1_000)
    #expect([first, second] == [1_000, 400])
    // Each plugin's own wait bounds its part.
    let short = waits.left(of: 20)
    #expect(short == 20)
    waits.spend(from: 5_600, to: 6_000)
    let last = waits.left(of: 1_000)
    #expect(last == 0)
  }

  @Test func theBoundIsTheLongestWaitOfThePluginsThatItWaitsFor() {
    var waits = WaitAllowance()
    let open = waits.left(of: 20)
    waits.spend(from: 0, to: 20)
    let none = waits.left(of: 20)
    let close = waits.left(of: 1_000)
    #expect([open, none, close] == [20, 0, 980])
  }

  @Test func waitsAtTheSameTimeCountOnce() {
    var waits = WaitAllowance()
    _ = waits.left(of: 1_000)
    waits.spend(from: 100, to: 300)
    waits.spend(from: 150, to: 350)
    waits.spend(from: 100, to: 200)
    waits.spend(from: 500, to: 400)
    let left = waits.left(of: 1_000)
    #expect(left == 750)
    waits.spend(from: 400, to: .max)
    let nothing = waits.left(of: 1_000)
    #expect(nothing == 0)
  }

  @Test func aRedispatchEndsWithWhatIsLeftAndSpendsWhatItTook() {
    var waits = WaitAllowance()
    _ = waits.left(of: 1_000)
    waits.spend(from: 0, to: 600)
    var redispatches = Redispatches()
    let allowed = [1_000, 1_200, 1_399, 1_400].map {
      redispatches.allows(.redispatch, within: waits.left(of: 1_000), now: $0)
    }
    #expect(allowed == [true, true, true, false])
    redispatches.end(&waits, now: 1_300)
    let left = waits.left(of: 1_000)
    #expect(left == 100)
    // Where none was lost nothing is spent.
    redispatches.end(&waits, now: 2_000)
    let same = waits.left(of: 1_000)
    #expect(same == 100)
  }

  @Test func theShortestOfTheLastStartsIsWhatCanBeExpected() {
    var starts = StartTimes()
    #expect(starts.shortest == 0)
    var shortest: [UInt64] = []
    for time in [30, 20, 40, 50, 60, 70, 80] as [UInt64] {
      starts.add(time)
      shortest.append(starts.shortest)
    }
    #expect(shortest == [30, 20, 20, 20, 20, 40, 50])
  }

  @Test(arguments: [1, 2, 4, 64]) func theLinesAboutAPluginThatFailsAllTheTimeAreFew(loops: Int) {
    var all: [UInt64] = []
    var suppressed: UInt64 = 0
    for _ in 0..<loops {
      var lines = SparseLines(loops: loops)
      // Twenty failures a second, for two minutes.
      for step in 0..<2_400 {
        let now = 1 + UInt64(step) * 50_000_000
        if let held = lines.admit(now: now) {
          all.append(now)
          suppressed += held
        }
      }
      suppressed += lines.suppressed
    }
    #expect(UInt64(all.count) + suppressed == UInt64(loops) * 2_400)
    #expect(all.count { $0 < 1_000_000_000 } == max(5 / loops, 1) * loops)
    let minute = all.count { $0 < 60_000_000_000 }
    #expect(minute <= max(5, loops) + 6)
  }

  @Test func whoIsHastenedWaitsNoLongerAndKeepsItsPlace() {
    var queue = AdmissionQueue()
    for (stream, until) in [(1, 10), (2, 20), (3, 30)] as [(UInt32, UInt64)] {
      queue.append(.init(stream: stream, place: 0, part: .headers, until: until, since: 0, limit: until), for: .worker)
      queue.append(.init(stream: 10 + stream, place: 0, part: .headers, until: until), for: .ring(1))
    }
    queue.hasten(.worker, to: 15)
    queue.hasten(.body(1), to: 0)
    var limits: [UInt64] = []
    while let (waiter, need) = queue.next({ $0 == .worker }) {
      #expect(need == .worker && waiter.until <= 15)
      limits.append(waiter.limit)
    }
    #expect(limits == [10, 15, 15])
    #expect(queue.count == 3)
  }
}

/// Nobody waits for a worker that cannot come in time.
@Suite(.serialized) struct WaitTests {
  private static func at(in milliseconds: UInt64) -> UInt64 { Clock.monotonicNanoseconds &+ milliseconds &* 1_000_000 }

  /// What came, and after how many milliseconds.
  private func timed(_ body: () throws -> TestResponse) rethrows -> (response: TestResponse, milliseconds: UInt64) {
    let start = Clock.monotonicNanoseconds
    let response = try body()
    return (response, (Clock.monotonicNanoseconds &- start) / 1_000_000)
  }

  private func waiting(_ front: TestFront) throws -> UInt64 {
    let loop = try #require(front.front.loops.first)
    return try loop.eventLoop.submit { loop.engine.chain.plugins.first?.measured.waiting ?? 0 }.wait()
  }

  @Test(arguments: FailStrategy.allCases)
  func aStartThatIsDueTooLateIsNotWaitedFor(strategy: FailStrategy) throws {
    let front = try TestFront(plugins: [.test("guard", strategy, admission: 5_000)])
    defer { front.stop() }
    // One waits already.
    let early = try TestClient(port: front.ports[0])
    early.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    try waitUntil { (try? waiting(front)) == 1 }
    let start = Clock.monotonicNanoseconds
    try front.command(.nextStart(plugin: 0, due: Self.at(in: 60_000)))
    let first = TestResponse(early.readToEnd())
    #expect((Clock.monotonicNanoseconds &- start) / 1_000_000 < 3_000)
    let (second, milliseconds) = try timed { try front.get() }
    #expect(milliseconds < 3_000)
    for response in [first, second] {
      #expect(response.status == (strategy == .failOpen ? 200 : 503))
      if strategy != .failOpen {
        #expect(response.body.contains("no worker becomes ready within 5000 ms: the next start is due in "))
      }
    }
  }

  @Test func aStartThatIsDueInTimeIsWaitedFor() throws {
    let front = try TestFront(plugins: [.test("guard", admission: 20_000)])
    defer { front.stop() }
    try front.command(.nextStart(plugin: 0, due: Self.at(in: 5_000)))
    try front.sync()
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    try waitUntil { (try? waiting(front)) == 1 }
    #expect(try waiting(front) == 1)
    try front.addWorker { _, _ in .goOn() }
    #expect(TestResponse(client.readToEnd()).status == 200)
  }

  @Test func whatWasSaidOfTheNextStartIsForgottenWithTheStart() throws {
    let front = try TestFront(plugins: [.test("guard", admission: 20_000)])
    defer { front.stop() }
    try front.command(.nextStart(plugin: 0, due: Self.at(in: 60_000)))
    try front.command(.nextStart(plugin: 0, due: 0))
    // Of a plugin that there is not, and one that is over.
    try front.command(.nextStart(plugin: 9, due: Self.at(in: 60_000)))
    try front.sync()
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    try waitUntil { (try? waiting(front)) == 1 }
    #expect(try waiting(front) == 1)
    try front.command(.nextStart(plugin: 0, due: 1))
    try front.sync()
    #expect(try waiting(front) == 1, "its time has come: the worker is on its way")
    try front.addWorker { _, _ in .goOn() }
    #expect(TestResponse(client.readToEnd()).status == 200)
  }

  @Test func aStartThatIsKnownToTakeLongerThanAStreamMayWaitIsNotWaitedFor() throws {
    let front = try TestFront(plugins: [.test("guard", admission: 5_000)])
    defer { front.stop() }
    let loop = try #require(front.front.loops.first)
    // The start of this plugin takes ten seconds.
    try loop.eventLoop.submit { loop.engine.chain.plugins.first?.starts.add(10_000_000_000) }.wait()
    let worker = try front.addWorker(ready: false) { _, _ in .goOn() }
    let (response, milliseconds) = try timed { try front.get() }
    #expect(milliseconds < 3_000)
    #expect(response.status == 503)
    #expect(response.body.contains("no worker becomes ready within 5000 ms: a start takes 10000 ms"))
    try front.ready(worker)
    #expect(try front.get().status == 200)
    // From now on a start is known to be quick, and is waited for.
    worker.die()
    try front.waitForEvent { $0 == .workerGone(worker: worker.number) }
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    try waitUntil { (try? waiting(front)) == 1 }
    try front.addWorker { _, _ in .goOn() }
    #expect(TestResponse(client.readToEnd()).status == 200)
  }

  @Test func allWaitsOfOneStreamShareOneBound() throws {
    var open = FrontBootstrap.Plugin.test("first", .failOpen, admission: 600)
    open.openAdmissionWait = 600
    let front = try TestFront(plugins: [open, .test("second", .failClose, admission: 1_000)])
    defer { front.stop() }
    let (response, milliseconds) = try timed { try front.get() }
    #expect(response.status == 503)
    #expect(milliseconds >= 990)
    let text = response.body
    #expect(text.contains("plugin second is unavailable"))
    // What is left of a second after six tenths, and not a second more.
    let words = text.split(separator: " ")
    let limit = words.firstIndex(of: "within").flatMap { UInt64(words[$0 + 1]) } ?? .max
    #expect(limit <= 400, "\(text)")
  }

  @Test func aPluginThatFailsOpenIsWaitedForAsItsOwnStrategySays() throws {
    var plugin = FrontBootstrap.Plugin.test("guard", .failOpen, admission: 20_000)
    plugin.openAdmissionWait = 20
    let front = try TestFront(plugins: [plugin])
    defer { front.stop() }
    let (response, milliseconds) = try timed { try front.get() }
    #expect(response.status == 200)
    #expect((20..<5_000).contains(milliseconds))
  }

  @Test(arguments: [FailStrategy.failClose, .failOpen])
  func aTCPConnectionWaitsAsARequestDoes(_ own: FailStrategy) throws {
    let network = CallbackSet.network
    let front = try TestFront.tcp(plugins: [.network("guard", own, network, admission: 5_000)])
    defer { front.stop() }
    try front.command(.nextStart(plugin: 0, due: Self.at(in: 60_000)))
    try front.sync()
    let start = Clock.monotonicNanoseconds
    let client = try front.connect()
    client.send("hello")
    client.halfClose()
    #expect(client.readToEnd() == (own == .failOpen ? "hello" : ""))
    #expect((Clock.monotonicNanoseconds &- start) / 1_000_000 < 3_000)
  }

  @Test func whoWaitsForRoomWhenTheLastWorkerGoesHasTheTimeOfThoseWithoutAWorker() throws {
    var plugin = FrontBootstrap.Plugin.test("guard", .failOpen, [.requestHeaders], deadline: 60_000, admission: 60_000)
    plugin.openAdmissionWait = 20
    let front = try TestFront(plugins: [plugin]) {
      $0.ring.callbacks = 4 << 10
      $0.ring.replies = 4 << 10
    }
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .hang }
    let large = String(repeating: "x", count: 2_500)
    let clients = try (0..<2).map { _ in try TestClient(port: front.ports[0]) }
    for client in clients { client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Large: \(large)\r\nConnection: close\r\n\r\n") }
    try waitUntil { (try? waiting(front)) == 1 && worker.seen.count == 1 }
    // Three times as long as streams wait where no worker is.
    try front.elapse(milliseconds: 60)
    #expect(try waiting(front) == 1, "the plugin is not down: it waits for room")
    worker.die()
    #expect(clients.map { TestResponse($0.readToEnd()).status } == [200, 200])
  }
}
