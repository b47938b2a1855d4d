import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// What one front leaves to the next, without fronts: as bytes, and merged with what is there already.
@Suite struct CarriedStateTests {
  private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

  private static func state() -> CarriedState {
    var state = CarriedState()
    state.stores = [
      .init(
        name: "vm", isVM: true, lastCAS: 7, entries: [.init(key: [1], value: [2, 3], cas: 5)],
        queues: [.init(name: [9], registrant: "a", messages: [.init(bytes: [], sender: "b"), .init(bytes: [4])])])
    ]
    state.rows = [
      .init(topic: .listener, name: "edge", numbers: [1, 2, 3]),
      .init(topic: .latency, name: "a", kind: 4, numbers: Array(0..<25)),
    ]
    state.metrics = [.init(plugin: "a", name: [1], kind: .histogram, value: 9, buckets: [1, 0, 2])]
    return state
  }

  private struct Generator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return state ^ (state >> 29)
    }
  }

  private static func decode(_ bytes: [UInt8]) -> Result<CarriedState, WireError> {
    bytes.withUnsafeBytes { bytes in
      do throws(WireError) { return .success(try CarriedState(bytes)) } catch { return .failure(error) }
    }
  }

  // MARK: as bytes

  @Test func itComesBackAsItWasWritten() throws {
    let (bytes, leftOut) = Self.state().encoded()
    #expect(leftOut == 0)
    #expect(try Self.decode(bytes).get() == Self.state())
  }

  @Test func everyTruncationAndWhatFollowsItIsRefused() {
    let bytes = Self.state().encoded().bytes
    for count in 0..<bytes.count {
      #expect(throws: WireError.self, "\(count) bytes") { try Self.decode(Array(bytes.prefix(count))).get() }
    }
    #expect(throws: WireError.self) { try Self.decode(bytes + [0]).get() }
  }

  @Test func bytesThatWereChangedAtRandomGiveAStateOrAnError() {
    var random = Generator(state: 11)
    let bytes = Self.state().encoded().bytes
    for _ in 0..<20_000 {
      var changed = bytes
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        changed[Int.random(in: 0..<changed.count, using: &random)] = .random(in: 0...255, using: &random)
      }
      if case .success(let state) = Self.decode(changed) { _ = state.since(Self.state()) }
    }
    for count in 0..<2_000 {
      _ = Self.decode([1, 0, 0, 0, 0] + (0..<count % 97).map { _ in .random(in: 0...255, using: &random) })
    }
  }

  @Test func aStoreBeyondTheBoundIsLeftOutAndTheNumbersStay() {
    var state = Self.state()
    let value = [UInt8](repeating: 1, count: 1 << 20)
    state.stores.append(
      .init(
        name: "large", isVM: false, lastCAS: 1, entries: (0..<130).map { .init(key: [$0], value: value, cas: 1) },
        queues: []))
    let (bytes, leftOut) = state.encoded()
    #expect(leftOut == 1)
    #expect((try? Self.decode(bytes).get()) == Self.state())
  }

  @Test func whatCameSinceIsTheDifferenceByNames() {
    var later = Self.state()
    later.stores = []
    later.rows[0].numbers = [1, 5, 3, 8]
    later.rows.append(.init(topic: .plugin, name: "new", numbers: [6]))
    later.metrics[0].value = 12
    later.metrics[0].buckets = [2, 0, 2]
    let rest = later.since(Self.state())
    #expect(rest.isRest && rest.stores.isEmpty)
    #expect(rest.rows.map(\.numbers) == [[0, 3, 0, 8], Array(repeating: 0, count: 25), [6]])
    #expect(rest.metrics.map(\.value) == [3] && rest.metrics[0].buckets == [1, 0, 0])
  }

  // MARK: merged

  private static func store(bytes: UInt64 = 1_000, entries: Int = 10, queues: Int = 3) -> SharedStore {
    var bounds = Bounds()
    bounds.sharedBytes = ByteCount(bytes: bytes)
    bounds.sharedEntries = entries
    bounds.queues = queues
    return SharedStore(bounds)
  }

  private static let numbers = ["a": 0, "b": 1]

  @Test func valuesOfBeforeReplaceThoseThatAStartHasSetAndNoVersionStandsForTwoValues() throws {
    var old = Self.store()
    for value in 1...5 { _ = try old.set(bytes("k"), [UInt8(value)], cas: 0) }
    _ = try old.set(bytes("first"), bytes("x"), cas: 0)
    var new = Self.store()
    for value in 11...15 { _ = try new.set(bytes("k"), [UInt8(value)], cas: 0) }
    _ = try new.set(bytes("own"), bytes("y"), cas: 0)
    let held = try #require(new.get(bytes("k"))?.cas)
    #expect(new.takeOver(old.carried("vm", isVM: true, plugins: [0: "a"])) { Self.numbers[$0] } == 0)
    let value = try #require(new.get(bytes("k")))
    #expect(value.value == [5] && value.cas != held)
    #expect(new.get(bytes("first"))?.value == bytes("x") && new.get(bytes("own"))?.value == bytes("y"))
    #expect(throws: SharedStore.Refusal.self) { try new.set(bytes("k"), [], cas: UInt64(held)) }
    _ = try new.set(bytes("k"), [6], cas: UInt64(value.cas))
    #expect(new.entries == 3)
  }

  @Test func aVersionOfBeforeStaysWhereNobodyHasGivenIt() throws {
    var old = Self.store()
    for value in 1...5 { _ = try old.set(bytes("k"), [UInt8(value)], cas: 0) }
    var new = Self.store()
    #expect(new.takeOver(old.carried("vm", isVM: true, plugins: [:])) { Self.numbers[$0] } == 0)
    #expect(new.get(bytes("k"))?.cas == 5)
    _ = try new.set(bytes("other"), [], cas: 0)
    #expect(new.get(bytes("other"))?.cas == 6)
  }

  @Test func messagesOfBeforeComeBeforeNewOnesAndAreTold() throws {
    var old = Self.store()
    let from = try old.register(bytes("q"), plugin: 0)
    for text in ["1", "2"] { _ = try old.enqueue(from, bytes(text), from: text == "2" ? 1 : nil) }
    var new = Self.store()
    let queue = try new.register(bytes("q"), plugin: 0)
    _ = try new.enqueue(queue, bytes("3"))
    #expect(new.takeOwed(queue, plugin: 0, worker: 9, most: 10) == 1)
    #expect(new.takeOver(old.carried("vm", isVM: true, plugins: [0: "a", 1: "b"])) { Self.numbers[$0] } == 0)
    #expect(new.takeOwed(queue, plugin: 0, worker: 9, most: 10) == 2)
    for expected in ["1", "2", "3"] { #expect(try new.dequeue(queue) == bytes(expected)) }
    #expect(new.entries == 0 && new.bytes == 1)
  }

  @Test func whatHasNoRoomOrNoPluginIsCountedAndChangesNothingElse() throws {
    var old = Self.store()
    _ = try old.set(bytes("large"), [UInt8](repeating: 0, count: 500), cas: 0)
    _ = try old.set(bytes("k"), [1], cas: 0)
    let queue = try old.register(bytes("q"), plugin: 2)
    _ = try old.enqueue(queue, bytes("m"))
    var new = Self.store(bytes: 50)
    #expect(new.takeOver(old.carried("vm", isVM: true, plugins: [2: "gone"])) { Self.numbers[$0] } == 3)
    #expect(new.get(bytes("large")) == nil && new.get(bytes("k"))?.value == [1])
    #expect(new.bytes == 2 && new.entries == 1 && new.resolve(bytes("q")) == nil)
  }

  @Test func metricsGoOnAndAGaugeThatIsSetStays() throws {
    let old = PluginMetrics(name: "a", maximum: 10)
    let new = PluginMetrics(name: "a", maximum: 10)
    func metric(_ metrics: PluginMetrics, _ name: String, _ kind: MetricKind) throws -> Metric {
      let number = try metrics.define(bytes(name), kind: UInt64(kind.rawValue))
      return metrics.all[try #require(PluginMetrics.place(of: number))]
    }
    _ = try metric(old, "count", .counter).increment(by: 5)
    try metric(old, "level", .gauge).record(7)
    try metric(old, "set", .gauge).record(7)
    for value in [1, 1, 900] as [UInt64] { try metric(old, "sizes", .histogram).record(value) }
    _ = try metric(new, "count", .counter).increment(by: 1)
    try metric(new, "set", .gauge).record(3)
    try metric(new, "sizes", .histogram).record(1)
    let carried = old.carried
    for value in carried { #expect(new.takeOver(value, isRest: false)) }
    #expect(try metric(new, "count", .counter).current == 6)
    #expect(try metric(new, "level", .gauge).current == 7)
    #expect(try metric(new, "set", .gauge).current == 3)
    #expect(try metric(new, "sizes", .histogram).current == 903)
    #expect(try metric(new, "sizes", .histogram).counts.reduce(0, +) == 4)
    // A stream of before ends: what it has counted up goes down again.
    var rest = carried[1]
    rest.value = UInt64(bitPattern: -2)
    #expect(new.takeOver(rest, isRest: true))
    #expect(try metric(new, "level", .gauge).current == 5)
    #expect(!new.takeOver(.init(plugin: "a", name: bytes("count"), kind: .gauge, value: 1, buckets: []), isRest: false))
  }

  @Test func countsOfListenersUpstreamsAndPluginsGoOn() throws {
    var counters = FrontCounters(listeners: 2, plugins: 0, upstreams: 1)
    counters.requestEnded(listener: 1, status: 200, nanoseconds: 5_000)
    counters.connectionTaken(listener: 1)
    counters.upstreamFailed(0)
    var next = FrontCounters(listeners: 1, plugins: 0, upstreams: 1)
    next.takeOver(listener: 0, counters.carried(listener: 1))
    next.takeOver(listener: 5, counters.carried(listener: 1))
    next.takeOver(listener: 0, [1])
    next.takeOver(upstream: 0, [3])
    #expect(next.carried(listener: 0) == [0, 0, 1, 0, 0, 0, 1, 0, 0])
    #expect(next.upstreamFailures == [3])
    #expect(counters.carried(listener: 2) == [])
    let times = try #require(counters.durations.carried(6 + 2))
    next.takeOver(durationsOfListener: 0, code: 2, times)
    next.takeOver(durationsOfListener: 0, code: 60_000, times)
    next.takeOver(durationsOfListener: 9, code: 2, times)
    next.takeOver(durationsOfUpstream: 0, [1, 2])
    #expect(next.durations.carried(2) == times && next.durations.carried(3) == nil)
    #expect(next.upstreamDurations.carried(0)?.prefix(3) == [1, 2, 0])
    var plugin = PluginCounters()
    plugin.callbacks = 4
    plugin.latencies.add(.requestHeaders, nanoseconds: 5_000)
    var after = PluginCounters()
    after.takeOver(plugin.carried)
    for latency in plugin.latencies.all {
      after.latencies.add(latency.kind, [latency.histogram.sumNanoseconds] + latency.histogram.buckets)
    }
    after.latencies.add(60_000, [1])
    #expect(after.callbacks == 4 && after.latencies.all == plugin.latencies.all)
  }
}
