import BulkheadCore
import BulkheadProxyWasm
import BulkheadWire
import ProxyWasmABI
import Testing

@Suite struct SharedStateTests {
  typealias Question = FakeServices.Question

  @Test func sharedDataIsAskedOfTheEventLoopWhoseCallbackRuns() throws {
    let harness = try Harness()
    harness.services.front = { question in
      switch question.call {
      case .getSharedData: (.ok, 0x1_0000_0007, Array("value".utf8))
      default: (.casMismatch, 0, [])
      }
    }
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      let (key, keySize) = harness.guest.put("key")
      let (value, valueSize) = harness.guest.put("new")
      #expect(harness.call(.setSharedData, key, keySize, value, valueSize, 9) == .casMismatch)
      #expect(harness.call(.getSharedData, key, keySize, harness.out, harness.out + 4, harness.out + 8) == .ok)
      #expect(harness.text(harness.guest.word(harness.out), harness.guest.word(harness.out + 4)) == "value")
      #expect(harness.guest.word(harness.out + 8) == 7)
      return 0
    }
    try harness.run(.requestHeaders, loop: 3)
    #expect(
      harness.services.questions == [
        Question(call: .setSharedData, number: 9, key: "key", value: "new", loop: 3),
        Question(call: .getSharedData, key: "key", loop: 3),
      ])
    harness.guest.callbacks[.tick] = harness.guest.callbacks[.requestHeaders]
    try harness.host.tick()
    #expect(harness.services.questions.last?.loop == 0)
  }

  @Test(arguments: [Status.ok, .notFound, .empty, .casMismatch, .badArgument, .internalFailure])
  func theFrontsStatusIsTheGuests(status: Status) throws {
    let harness = try Harness()
    harness.services.front = { _ in (status, 5, []) }
    let out = harness.out
    #expect(harness.call(.setSharedData, 0, 0, 0, 0, 0) == status)
    #expect(harness.call(.getSharedData, 0, 0, out, out, out) == status)
    #expect(harness.call(.registerSharedQueue, 0, 0, out) == status)
    #expect(harness.call(.resolveSharedQueue, 0, 0, 0, 0, out) == status)
    #expect(harness.call(.enqueueSharedQueue, 5, 0, 0) == status)
    #expect(harness.call(.dequeueSharedQueue, 5, out, out) == status)
    #expect(harness.call(.defineMetric, 0, 0, 0, out) == status)
  }

  @Test func aQuestionWithoutAnAnswerFails() throws {
    let harness = try Harness()
    harness.services.front = { _ in nil }
    let out = harness.out
    #expect(harness.call(.setSharedData, 0, 0, 0, 0, 0) == .internalFailure)
    #expect(harness.call(.dequeueSharedQueue, 5, out, out) == .internalFailure)
    #expect(harness.call(.defineMetric, 0, 0, 0, out) == .internalFailure)
  }

  @Test func pointersAreCheckedBeforeTheFrontIsAsked() throws {
    let harness = try Harness()
    let (out, bad) = (harness.out, UInt32(harness.guest.bytes.count) - 2)
    #expect(harness.call(.setSharedData, bad, 8, 0, 0, 0) == .invalidMemoryAccess)
    #expect(harness.call(.setSharedData, 0, 0, bad, 8, 0) == .invalidMemoryAccess)
    for wrong in 0..<3 as Range<UInt32> {
      #expect(
        harness.call(
          .getSharedData, 0, 0, wrong == 0 ? bad : out, wrong == 1 ? bad : out, wrong == 2 ? bad : out)
          == .invalidMemoryAccess)
    }
    #expect(harness.call(.registerSharedQueue, 0, 0, bad) == .invalidMemoryAccess)
    #expect(harness.call(.resolveSharedQueue, bad, 8, 0, 0, out) == .invalidMemoryAccess)
    #expect(harness.call(.enqueueSharedQueue, 1, bad, 8) == .invalidMemoryAccess)
    #expect(harness.call(.dequeueSharedQueue, 1, out, bad) == .invalidMemoryAccess)
    #expect(harness.call(.defineMetric, 0, 0, 0, bad) == .invalidMemoryAccess)
    #expect(harness.call(.defineMetric, 3, 0, 0, out) == .badArgument)
    #expect(harness.services.questions.isEmpty)
  }

  @Test func queuesHaveNamesAndNoQueueHasTheToken0() throws {
    let harness = try Harness()
    harness.services.front = { question in
      (.ok, question.call == .resolveQueue ? 42 : 41, Array("message".utf8))
    }
    let (name, nameSize) = harness.guest.put("queue")
    let (vm, vmSize) = harness.guest.put("other")
    let out = harness.out
    #expect(harness.call(.registerSharedQueue, name, nameSize, out) == .ok)
    #expect(harness.guest.word(out) == 41)
    #expect(harness.call(.resolveSharedQueue, vm, vmSize, name, nameSize, out) == .ok)
    #expect(harness.guest.word(out) == 42)
    #expect(harness.call(.enqueueSharedQueue, 42, vm, vmSize) == .ok)
    #expect(harness.call(.dequeueSharedQueue, 41, out, out + 4) == .ok)
    #expect(harness.text(harness.guest.word(out), harness.guest.word(out + 4)) == "message")
    #expect(harness.call(.enqueueSharedQueue, 0, 0, 0) == .notFound)
    #expect(harness.call(.dequeueSharedQueue, 0, out, out) == .notFound)
    #expect(
      harness.services.questions == [
        Question(call: .registerQueue, key: "queue"), Question(call: .resolveQueue, key: "other", value: "queue"),
        Question(call: .enqueue, number: 42, value: "other"), Question(call: .dequeue, number: 41),
      ])
  }

  @Test func whatIsOverABoundIsRefusedByName() throws {
    let harness = try Harness { $0.maximumRecord = 4 << 20 }
    let long = UInt32(Limits.maximumSharedKey + 1)
    #expect(harness.call(.setSharedData, 0, long, 0, 0, 0) == .internalFailure)
    #expect(harness.call(.getSharedData, 0, long, 0, 0, 0) == .notFound)
    #expect(harness.call(.registerSharedQueue, 0, long, 0) == .internalFailure)
    #expect(harness.call(.defineMetric, 0, 0, long, 0) == .internalFailure)
    #expect(harness.services.questions.isEmpty)
    #expect(harness.services.logs.allSatisfy { $0.message.contains("at most 4096") })
    #expect(!harness.services.lines.contains { $0.isGuest }, "the host says it")
    #expect(harness.services.logs.count == 3)
  }

  // MARK: Metrics

  private static func defining() throws -> Harness {
    let harness = try Harness()
    harness.services.front = { question in
      question.call == .defineMetric ? (.ok, 100 + question.number, []) : (.ok, 1 << 40, [])
    }
    for type in 0..<3 as Range<UInt32> {
      let (name, size) = harness.guest.put("metric\(type)")
      #expect(harness.call(.defineMetric, type, name, size, harness.out) == .ok)
      #expect(harness.guest.word(harness.out) == 100 + type)
    }
    harness.services.questions.removeAll()
    return harness
  }

  private static func change(_ harness: Harness, _ function: Hostcall, _ metric: UInt64, _ amount: Int64) -> Status? {
    Status(rawValue: harness.raw(.hostcall(function), [metric, UInt64(bitPattern: amount)]).1)
  }

  @Test func eachTypeTakesWhatItTakesInEnvoy() throws {
    let harness = try Self.defining()
    let table: [(Hostcall, UInt64, Int64, Status)] = [
      (.incrementMetric, 100, 1, .ok), (.incrementMetric, 100, -1, .badArgument),
      (.incrementMetric, 100, 0, .badArgument),
      (.incrementMetric, 101, -1, .ok), (.incrementMetric, 102, 1, .badArgument), (.incrementMetric, 99, 1, .notFound),
      (.recordMetric, 100, 5, .ok), (.recordMetric, 101, 5, .ok), (.recordMetric, 102, 5, .ok),
      (.recordMetric, 99, 5, .notFound),
    ]
    for (function, metric, amount, status) in table {
      #expect(Self.change(harness, function, metric, amount) == status, "\(function) \(metric) \(amount)")
    }
    #expect(harness.call(.getMetric, 102, harness.out) == .badArgument)
    #expect(harness.call(.getMetric, 99, harness.out) == .notFound)
    #expect(harness.call(.getMetric, 100, .max) == .invalidMemoryAccess)
    #expect(harness.services.questions.isEmpty)
  }

  @Test func changesOfMetricsRideOnTheReplyAndSeveralOfOneAreOne() throws {
    let harness = try Self.defining()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      for _ in 0..<10 { _ = Self.change(harness, .incrementMetric, 100, 2) }
      _ = Self.change(harness, .recordMetric, 100, 5)
      _ = Self.change(harness, .incrementMetric, 101, -3)
      _ = Self.change(harness, .recordMetric, 101, 50)
      _ = Self.change(harness, .incrementMetric, 101, -8)
      for sample in 1...2 as ClosedRange<Int64> { _ = Self.change(harness, .recordMetric, 102, sample) }
      return 0
    }
    try harness.run(.requestHeaders, stream: 6)
    #expect(
      try Self.changes(harness, stream: 6) == ["increment 100 25", "record 101 42", "record 102 1", "record 102 2"])
    harness.guest.callbacks[.tick] = { [unowned harness] _, _, _ in
      _ = Self.change(harness, .incrementMetric, 101, -3)
      return 0
    }
    try harness.host.tick()
    #expect(try Self.changes(harness, stream: CallbackRecord.noStream) == ["increment 101 -3"])
    harness.guest.callbacks[.log] = harness.guest.callbacks[.tick]
    try harness.run(.streamDone, stream: 6, first: false)
    #expect(try Self.changes(harness, stream: CallbackRecord.noStream) == ["increment 101 -3"])
  }

  private static func changes(_ harness: Harness, stream: UInt32) throws -> [String] {
    try harness.operations().map { made in
      #expect(made.stream == stream)
      return try made.operation.read { operation in
        let (metric, amount) = try operation.metric()
        return operation.code == .incrementMetric
          ? "increment \(metric) \(Int64(bitPattern: amount))" : "record \(metric) \(amount)"
      }
    }
  }

  @Test func readingAMetricBackComesAfterWhatWasDoneToIt() throws {
    let harness = try Self.defining()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      _ = Self.change(harness, .incrementMetric, 100, 1)
      #expect(harness.services.replies.isEmpty)
      #expect(harness.call(.getMetric, 100, harness.out) == .ok)
      #expect(harness.services.replies.count == 1)
      #expect(harness.guest.word(harness.out) == 0 && harness.guest.word(harness.out + 4) == 256)
      return 0
    }
    try harness.run(.requestHeaders, stream: 6, loop: 2)
    #expect(harness.services.replies.map(\.loop) == [2, 2])
    #expect(try Self.changes(harness, stream: CallbackRecord.noStream) == ["increment 100 1"])
  }

  @Test func aFloodOfSamplesLeavesInSeveralRecords() throws {
    let harness = try Self.defining()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      for sample in 0..<10_000 as Range<Int64> {
        #expect(Self.change(harness, .recordMetric, 102, sample) == .ok)
      }
      _ = Self.change(harness, .incrementMetric, 100, .max)
      _ = Self.change(harness, .incrementMetric, 100, .max)
      return 0
    }
    try harness.run(.requestHeaders)
    #expect(try harness.operations().count == 10_002)
  }

  // MARK: Upstreams

  @Test func theEndpointsOfAnUpstreamThatItMayNotReachAreNotAskedFor() throws {
    let harness = try Harness.calling { $0.restrictsUpstreams = true }
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      for _ in 0..<2 {
        #expect(harness.call(.getUpstreamHosts, harness.out, harness.out + 4) == .badArgument)
        let (host, size) = harness.guest.put("127.0.0.1:80")
        #expect(harness.call(.setUpstreamOverrideHost, host, size) == .badArgument)
      }
      return 0
    }
    try harness.run(.requestHeaders, properties: [("cluster_name", "web")])
    #expect(harness.services.questions.isEmpty)
    #expect(try harness.operations().isEmpty)
    #expect(harness.services.logs.count { $0.message.contains("upstream 'web'") } == 1)
    try harness.run(.streamDone, first: false)
    // One that it may call is another matter.
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      let (host, size) = harness.guest.put("127.0.0.1:80")
      #expect(harness.call(.setUpstreamOverrideHost, host, size) == .ok)
      return 0
    }
    try harness.run(.requestHeaders, properties: [("cluster_name", "auth")])
    #expect(try harness.operations().map(\.operation.code) == [.overrideHost])
  }

  @Test func theEndpointsOfAStreamsUpstreamCanBeAskedAndChosen() throws {
    let harness = try Harness()
    let hosts = CalloutTests.block([("127.0.0.1:80", "healthy")])
    harness.services.front = { _ in (.ok, 0, hosts) }
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.call(.getUpstreamHosts, harness.out, harness.out + 4) == .ok)
      #expect(harness.guest.word(harness.out + 4) == hosts.count)
      let (host, size) = harness.guest.put("127.0.0.1:80")
      #expect(harness.call(.setUpstreamOverrideHost, host, size) == .ok)
      #expect(harness.call(.setUpstreamOverrideHost, host, size - 3) == .badArgument)
      #expect(harness.call(.setUpstreamOverrideHost, .max, size) == .invalidMemoryAccess)
      return 0
    }
    try harness.run(.requestHeaders, properties: [("cluster_name", "web")])
    #expect(harness.services.questions == [Question(call: .upstreamHosts, key: "web")])
    let operations = try harness.operations()
    #expect(operations.map(\.operation.code) == [.overrideHost])
    #expect(operations.first.map { String(decoding: $0.operation.value, as: UTF8.self) } == "127.0.0.1:80")
    #expect(harness.call(.getUpstreamHosts, harness.out, harness.out + 4) == .notFound)
    #expect(harness.call(.setUpstreamOverrideHost, 0, 0) == .badArgument)
  }
}
