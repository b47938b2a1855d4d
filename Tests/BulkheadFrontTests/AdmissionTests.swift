import BulkheadCore
import BulkheadWire
import Glibc
import Synchronization
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// Who waits for a plugin's worker, and in which order they go on.
@Suite struct AdmissionQueueTests {
  private func waiter(_ stream: UInt32, _ until: UInt64 = 100) -> AdmissionQueue.Waiter {
    AdmissionQueue.Waiter(stream: stream, place: 0, part: .headers, until: until)
  }

  /// The streams in the order in which one round takes them; those of `stuck` wait on.
  private func round(_ queue: inout AdmissionQueue, stuck: Set<UInt32> = []) -> [UInt32] {
    var order: [UInt32] = []
    queue.beginRound()
    while let (waiter, need) = queue.next({ _ in true }) {
      order.append(waiter.stream)
      if stuck.contains(waiter.stream) { queue.putBack(waiter, for: need) }
    }
    return order
  }

  @Test func whoWaitsLongestGoesFirstWhateverItWaitsFor() {
    var queue = AdmissionQueue()
    queue.append(waiter(1, 10), for: .ring(1))
    queue.append(waiter(2, 11), for: .worker)
    queue.append(waiter(3, 12), for: .body(1))
    queue.append(waiter(4, 13), for: .ring(1))
    #expect(queue.count == 4)
    #expect(round(&queue) == [1, 2, 3, 4])
    #expect(queue.count == 0)
  }

  @Test func oneThatIsStuckHoldsUpItsOwnLineAlone() {
    var queue = AdmissionQueue()
    let needs: [AdmissionQueue.Need] = [.ring(1), .body(1), .ring(2), .worker]
    for number in 0..<12 {
      queue.append(waiter(UInt32(number), UInt64(number)), for: needs[number % 4])
    }
    // The first one of the first worker's ring is tried once.
    #expect(round(&queue, stuck: [0]) == [0, 1, 2, 3, 5, 6, 7, 9, 10, 11])
    #expect(queue.count == 3)
    #expect(round(&queue) == [0, 4, 8])
  }

  @Test func aLineThatMayNotBeTriedIsLeftOut() {
    var queue = AdmissionQueue()
    queue.append(waiter(1), for: .worker)
    let next = queue.next { $0 != .worker }
    #expect(next == nil)
    #expect(queue.count == 1)
  }

  @Test func whoComesFromAnotherLineStandsByItsTime() {
    var queue = AdmissionQueue()
    for (stream, until) in [(1, 10), (2, 30), (3, 20), (4, 20)] as [(UInt32, UInt64)] {
      queue.append(waiter(stream, until), for: .worker)
    }
    #expect(queue.nextUntil == 10)
    #expect(round(&queue) == [1, 3, 4, 2])
    #expect(queue.nextUntil == .max)
  }

  @Test func thoseWhoseTimeIsOverComeOutOfEveryLine() {
    var queue = AdmissionQueue()
    queue.append(waiter(1, 10), for: .ring(1))
    queue.append(waiter(2, 20), for: .ring(1))
    queue.append(waiter(3, 15), for: .worker)
    var gone: Set<UInt32> = []
    while let (waiter, _) = queue.expired(now: 15) { gone.insert(waiter.stream) }
    #expect(gone == [1, 3])
    #expect(queue.nextUntil == 20)
  }

  @Test func aLongLineComesOutWholeHoweverOftenItsFirstIsPutBack() {
    var queue = AdmissionQueue()
    for number in 0..<2_000 { queue.append(waiter(UInt32(number)), for: .worker) }
    var taken: [UInt32?] = []
    var blocked = 0
    for number in 0..<2_000 {
      taken.append(queue.next { _ in true }?.0.stream)
      queue.putBack(waiter(UInt32(number)), for: .worker)
      if queue.next({ _ in true }) == nil { blocked += 1 }
      queue.beginRound()
      _ = queue.next { _ in true }
    }
    #expect(taken == (0..<2_000).map { UInt32($0) })
    #expect(blocked == 2_000)
    #expect(queue.count == 0)
  }
}

/// Streams of one plugin that wait, over workers that are stuck.
@Suite(.serialized) struct AdmissionTests {
  private static func plugin(workers: UInt32, admission: UInt32) -> FrontBootstrap.Plugin {
    var plugin = FrontBootstrap.Plugin.test(
      "guard", .failClose, [.requestHeaders, .requestBody, .log], deadline: 20_000, admission: admission)
    plugin.workers = workers
    return plugin
  }

  private func waiting(_ front: TestFront) throws -> UInt64 {
    let loop = try #require(front.front.loops.first)
    return try loop.eventLoop.submit { loop.engine.chain.plugins.first?.measured.waiting ?? 0 }.wait()
  }

  private static func begin(_ front: TestFront) throws -> TestClient {
    let client = try TestClient(port: front.ports[0])
    client.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
    return client
  }

  @Test func aStreamOfOneWorkersFullRingDoesNotHoldUpThoseOfAnother() throws {
    let front = try TestFront(plugins: [Self.plugin(workers: 2, admission: 8_000)]) {
      $0.ring.callbacks = 8 << 10
      $0.ring.replies = 8 << 10
    }
    defer { front.stop() }
    let gates = [Gate(), Gate()]
    defer { for gate in gates { gate.open() } }
    let workers = try gates.map { gate in
      try front.addWorker { callback, _ in
        if callback.kind == .requestBody { gate.pass() }
        return .goOn()
      }
    }
    let loop = try #require(front.front.loops.first)
    try waitUntil {
      (try? loop.eventLoop.submit { loop.engine.chain.plugins.first?.workers.serving.count }.wait()) == 2
    }
    // Streams go to the one with the fewest: to the first, to the second, to the first.
    var clients: [TestClient] = []
    for (number, worker) in [(1, 0), (1, 1), (2, 0)] {
      clients.append(try Self.begin(front))
      try workers[worker].waitForSeen(number) { $0.kind == .requestHeaders }
    }
    let chunk = chunked([String(repeating: "x", count: 5_000)])
    clients[0].send(chunk)
    try waitUntil { gates[0].came.value == 1 }
    clients[2].send(chunk)
    try waitUntil { (try? waiting(front)) == 1 }
    #expect(try waiting(front) == 1, "there is no room on the first worker's ring")
    clients[1].send(chunk)
    try waitUntil { gates[1].came.value == 1 }
    let new = try TestClient(port: front.ports[0])
    let large = String(repeating: "x", count: 4_000)
    new.send("GET / HTTP/1.1\r\nHost: a\r\nX-Large: \(large)\r\nConnection: close\r\n\r\n")
    try waitUntil { (try? waiting(front)) == 2 }
    #expect(try waiting(front) == 2, "there is no room on the second one's either")
    gates[1].open()
    #expect(TestResponse(new.readToEnd()).status == 200)
    #expect(TestResponse(clients[1].readToEnd()).status == 200)
    #expect(try waiting(front) == 1, "the first worker is still stuck")
    gates[0].open()
    #expect(TestResponse(clients[0].readToEnd()).status == 200)
    #expect(TestResponse(clients[2].readToEnd()).status == 200)
  }

  @Test func whoWaitsForRoomIsToldOfAQuarantineThatComesBeforeTheWorkersEnd() throws {
    let front = try TestFront(plugins: [Self.plugin(workers: 1, admission: 60_000)]) {
      $0.ring.callbacks = 4 << 10
      $0.ring.replies = 4 << 10
    }
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .hang }
    let large = String(repeating: "x", count: 2_500)
    let clients = try (0..<2).map { _ in try TestClient(port: front.ports[0]) }
    for client in clients { client.send("GET / HTTP/1.1\r\nHost: a\r\nX-Large: \(large)\r\nConnection: close\r\n\r\n") }
    try waitUntil { (try? waiting(front)) == 1 && worker.seen.count == 1 }
    try front.command(.pluginState(plugin: 0, state: .quarantined))
    let loop = try #require(front.front.loops.first)
    try waitUntil { try loop.eventLoop.submit { loop.engine.chain.plugins.first?.isQuarantined }.wait() == true }
    worker.die()
    let answers = clients.map { TestResponse($0.readToEnd()) }
    #expect(answers.map(\.status) == [503, 503])
    #expect(answers.contains { $0.body.contains("its worker died") })
    #expect(answers.contains { $0.body.contains("quarantined") })
  }

  @Test func aStreamGoesToTheWorkerThatHasRoomForItAndNotToAFullOne() throws {
    var plugin = Self.plugin(workers: 2, admission: 5_000)
    plugin.bufferBytes = 128 << 20
    let front = try TestFront(plugins: [plugin]) {
      $0.ring.callbacks = 1 << 20
    }
    defer { front.stop() }
    // The first one keeps as much of one stream's body as it may of all, and is idle.
    let full = try front.addWorker { callback, _ in callback.kind == .requestBody ? .pause : .goOn() }
    let client = try Self.begin(front)
    try full.waitForSeen(1) { $0.kind == .requestHeaders }
    let size = ChainLimits.heldBytes + 1
    client.send(String(size, radix: 16) + "\r\n")
    client.send([UInt8](repeating: 0x61, count: size))
    try waitUntil { full.seen(.requestBody).reduce(0) { $0 + $1.payload.count } == size }
    let other = try front.addWorker { callback, _ in .pause }
    // The second one has more streams, each of which waits for nothing.
    var clients: [TestClient] = []
    for number in 1...3 {
      clients.append(try Self.begin(front))
      try waitUntil { other.seen(.requestHeaders).count == number }
      #expect(other.seen(.requestHeaders).count == number)
    }
    #expect(full.seen(.requestHeaders).count == 1)
  }
}
