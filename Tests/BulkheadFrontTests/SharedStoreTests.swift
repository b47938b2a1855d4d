import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// Shared data and queues without a front: the store alone.
@Suite struct SharedStoreTests {
  private static func bounds(bytes: UInt64 = 1_000, entries: Int = 10, queues: Int = 3) -> Bounds {
    var bounds = Bounds()
    bounds.sharedBytes = ByteCount(bytes: bytes)
    bounds.sharedEntries = entries
    bounds.queues = queues
    return bounds
  }

  private func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

  private func refusal<Value>(_ body: () throws(SharedStore.Refusal) -> Value) -> SharedStore.Refusal? {
    do throws(SharedStore.Refusal) { _ = try body() } catch { return error }
    return nil
  }

  // MARK: Shared data

  @Test(arguments: [
    (cas: UInt64(0), stored: true), (1, true), (2, false), (UInt64(UInt32.max) + 2, false), (.max, false),
  ])
  func aValueThatIsThereIsReplacedWithItsOwnCasOrNone(cas: UInt64, stored: Bool) throws {
    var store = SharedStore(Self.bounds())
    _ = try store.set(bytes("k"), bytes("a"), cas: 0)
    #expect(store.get(bytes("k"))?.cas == 1)
    let refused = refusal { () throws(SharedStore.Refusal) in try store.set(bytes("k"), bytes("b"), cas: cas) }
    #expect(refused == (stored ? nil : .status(.casMismatch)))
    #expect(store.get(bytes("k"))?.value == bytes(stored ? "b" : "a"))
    #expect((store.get(bytes("k"))?.cas == 1) != stored)
  }

  @Test func aCasForAKeyThatIsNotThereIsPassedOver() throws {
    var store = SharedStore(Self.bounds())
    _ = try store.set(bytes("k"), bytes("a"), cas: 77)
    #expect(store.get(bytes("k"))?.value == bytes("a"))
  }

  @Test func anEmptyValueAndAnEmptyKeyAreStoredLikeAnyOther() throws {
    var store = SharedStore(Self.bounds())
    _ = try store.set([], [], cas: 0)
    #expect(store.get([])?.value == [])
    #expect(store.get(bytes("k")) == nil)
  }

  @Test func boundsHoldAndWhatIsRefusedChangesNothing() throws {
    var store = SharedStore(Self.bounds(bytes: 10, entries: 2))
    let longKey = [UInt8](repeating: 0, count: Limits.maximumSharedKey + 1)
    #expect(
      refusal { () throws(SharedStore.Refusal) in try store.set(longKey, [], cas: 0) }
        == .bound(.keyBytes(Limits.maximumSharedKey)))
    let large = [UInt8](repeating: 0, count: Limits.maximumSharedValue + 1)
    #expect(
      refusal { () throws(SharedStore.Refusal) in try store.set([], large, cas: 0) }
        == .bound(.valueBytes(Limits.maximumSharedValue)))
    _ = try store.set(bytes("a"), bytes("12345"), cas: 0)
    #expect(
      refusal { () throws(SharedStore.Refusal) in try store.set(bytes("b"), bytes("1234"), cas: 0) }
        == .bound(.sharedBytes(10)))
    #expect(store.bytes == 6)
    _ = try store.set(bytes("b"), bytes("123"), cas: 0)
    #expect(store.bytes == 10)
    #expect(
      refusal { () throws(SharedStore.Refusal) in try store.set(bytes("c"), [], cas: 0) } == .bound(.sharedEntries(2)))
    #expect(
      refusal { () throws(SharedStore.Refusal) in try store.set(bytes("a"), bytes("123456"), cas: 0) }
        == .bound(.sharedBytes(10)))
    // What becomes smaller always fits.
    _ = try store.set(bytes("a"), bytes("1"), cas: 0)
    #expect(store.bytes == 6)
    #expect(store.entries == 2)
  }

  // MARK: Queues

  @Test func messagesComeInTheirOrderAndRegisteringAgainKeepsThem() throws {
    var store = SharedStore(Self.bounds())
    let queue = try store.register(bytes("q"), plugin: 0)
    #expect(try store.enqueue(queue, bytes("1")) == 0)
    #expect(try store.enqueue(queue, []) == 0)
    #expect(try store.register(bytes("q"), plugin: 1) == queue)
    #expect(try store.enqueue(queue, bytes("3")) == 1)
    #expect(store.resolve(bytes("q")) == queue)
    #expect(store.resolve(bytes("p")) == nil)
    for expected in [bytes("1"), [], bytes("3")] { #expect(try store.dequeue(queue) == expected) }
    #expect(refusal { () throws(SharedStore.Refusal) in try store.dequeue(queue) } == .status(.empty))
    #expect(refusal { () throws(SharedStore.Refusal) in try store.dequeue(9) } == .status(.notFound))
    #expect(refusal { () throws(SharedStore.Refusal) in try store.enqueue(-1, []) } == .status(.notFound))
    #expect(store.entries == 0)
    #expect(store.bytes == 1)
  }

  @Test func queuesAndTheirMessagesAreBounded() throws {
    var store = SharedStore(Self.bounds(bytes: 20, entries: 2, queues: 1))
    let queue = try store.register(bytes("q"), plugin: 0)
    #expect(
      refusal { () throws(SharedStore.Refusal) in try store.register(bytes("p"), plugin: 0) } == .bound(.queues(1)))
    _ = try store.enqueue(queue, bytes("1234567890"))
    #expect(
      refusal { () throws(SharedStore.Refusal) in try store.enqueue(queue, bytes("1234567890")) }
        == .bound(.sharedBytes(20)))
    _ = try store.enqueue(queue, [])
    #expect(
      refusal { () throws(SharedStore.Refusal) in try store.enqueue(queue, []) } == .bound(.sharedEntries(2)))
    _ = try store.dequeue(queue)
    _ = try store.enqueue(queue, bytes("123"))
  }

  @Test func messagesFromOtherVMsHaveAShareOfTheirOwn() throws {
    var store = SharedStore(Self.bounds(bytes: 41, entries: 12))
    let queue = try store.register(bytes("q"), plugin: 0)
    func enqueue(_ text: String, from sender: Int? = 7) -> SharedStore.Refusal? {
      refusal { () throws(SharedStore.Refusal) in try store.enqueue(queue, bytes(text), from: sender) }
    }
    #expect(enqueue("1234567890") == nil)
    #expect(enqueue("1") == .bound(.foreignBytes(10)))
    #expect(enqueue("1", from: 8) == .bound(.foreignBytes(10)))
    #expect(enqueue("", from: 8) == nil)
    #expect(enqueue("", from: 9) == nil)
    #expect(enqueue("", from: 10) == .bound(.foreignMessages(3)))
    // Its own plugins have all that is left.
    #expect(enqueue("123456789012345678901234567890", from: nil) == nil)
    #expect(enqueue("1", from: nil) == .bound(.sharedBytes(41)))
    // What is taken makes room.
    #expect(try store.dequeue(queue) == bytes("1234567890"))
    #expect(enqueue("123") == nil)
  }

  @Test(arguments: [(64, UInt64(1 << 20), [8, 4, 2, 1]), (10_000, 400, [10, 5, 3, 1])])
  func noForeignPluginFillsAQueueForTheOthers(entries: Int, limit: UInt64, expected: [Int]) throws {
    var store = SharedStore(Self.bounds(bytes: limit, entries: entries))
    let queue = try store.register(bytes("q"), plugin: 0)
    func fill(from sender: Int) -> Int {
      var count = 0
      while (try? store.enqueue(queue, bytes("12345"), from: sender)) != nil { count += 1 }
      return count
    }
    // Each that takes all it can get leaves as much to those behind it.
    #expect((1...4).map { fill(from: $0) } == expected)
    // What is taken is there for all again.
    for _ in 0..<expected[0] { _ = try store.dequeue(queue) }
    #expect(fill(from: 4) > 0)
    #expect(fill(from: 1) > 0)
  }

  // MARK: Notifications

  @Test func aWorkerIsToldOfEachMessageOnce() throws {
    var store = SharedStore(Self.bounds())
    let queue = try store.register(bytes("q"), plugin: 0)
    #expect(store.takeOwed(queue, plugin: 0, worker: 1, most: 9) == 0)
    for _ in 0..<3 { _ = try store.enqueue(queue, []) }
    #expect(store.owing(plugin: 0, worker: 1) == [queue])
    #expect(store.takeOwed(queue, plugin: 0, worker: 1, most: 2) == 2)
    #expect(store.takeOwed(queue, plugin: 0, worker: 1, most: 2) == 1)
    #expect(store.takeOwed(queue, plugin: 0, worker: 1, most: 2) == 0)
    #expect(store.owing(plugin: 0, worker: 1) == [])
  }

  @Test func aReplacementIsToldOfAllThatIsLeft() throws {
    var store = SharedStore(Self.bounds())
    let queue = try store.register(bytes("q"), plugin: 0)
    for _ in 0..<3 { _ = try store.enqueue(queue, []) }
    #expect(store.takeOwed(queue, plugin: 0, worker: 1, most: 9) == 3)
    _ = try store.dequeue(queue)
    #expect(store.owing(plugin: 0, worker: 2) == [queue])
    #expect(store.takeOwed(queue, plugin: 0, worker: 2, most: 9) == 2)
    // The one before it is on its way out.
    _ = try store.enqueue(queue, [])
    #expect(store.takeOwed(queue, plugin: 0, worker: 1, most: 9) == 0)
    // Unless the replacement is lost first.
    store.workerLost(2)
    #expect(store.takeOwed(queue, plugin: 0, worker: 1, most: 9) == 3)
  }

  @Test func nobodyIsToldOfWhatWasTakenMeanwhile() throws {
    var store = SharedStore(Self.bounds())
    let queue = try store.register(bytes("q"), plugin: 0)
    for _ in 0..<3 { _ = try store.enqueue(queue, []) }
    _ = try store.dequeue(queue)
    _ = try store.dequeue(queue)
    #expect(store.takeOwed(queue, plugin: 0, worker: 0, most: 9) == 1)
  }

  @Test func anotherPluginThatRegistersIsToldInstead() throws {
    var store = SharedStore(Self.bounds())
    let queue = try store.register(bytes("q"), plugin: 0)
    _ = try store.enqueue(queue, [])
    #expect(store.takeOwed(queue, plugin: 0, worker: 5, most: 9) == 1)
    _ = try store.register(bytes("q"), plugin: 1)
    #expect(store.takeOwed(queue, plugin: 0, worker: 6, most: 9) == 0)
    #expect(store.takeOwed(queue, plugin: 1, worker: 2, most: 9) == 1)
    // Registering again by itself changes nothing.
    _ = try store.register(bytes("q"), plugin: 1)
    #expect(store.takeOwed(queue, plugin: 1, worker: 2, most: 9) == 0)
  }

  // MARK: vm_ids

  private static func state(_ vms: [String]) throws -> (SharedState, [SharedPlugin]) {
    let state = SharedState(
      FrontBootstrap(
        eventLoops: 1, maximumSpinMicroseconds: 0, logLevel: .warn, listeners: [], upstreams: [], plugins: []))
    return (state, try vms.enumerated().map { try state.plugin("p\($0)", vmID: $1) })
  }

  @Test func pluginsOfOneVMShareAndOthersDoNot() throws {
    let (state, plugins) = try Self.state(["x", "", "x", ""])
    try state.set(bytes("k"), bytes("v"), cas: 0, plugin: plugins[0]).get()
    #expect(state.get(bytes("k"), plugin: plugins[2])?.value == bytes("v"))
    #expect(state.get(bytes("k"), plugin: plugins[1]) == nil)
    #expect(state.get(bytes("k"), plugin: plugins[3]) == nil)
  }

  @Test func whatIsSharedStaysForAsLongAsAPluginOfItIsThere() throws {
    var (state, plugins) = try Self.state(["x", "y", ""])
    let token = try state.register(bytes("q"), plugin: plugins[0]).get()
    #expect(state.resolve(vm: bytes("x"), bytes("q"), plugin: plugins[1]) == token)
    try state.set(bytes("k"), bytes("v"), cas: 0, plugin: plugins[2]).get()
    #expect(try state.plugin("p2", vmID: "") === plugins[2])
    #expect(try state.plugin("p2", vmID: "z") !== plugins[2])
    #expect(try state.plugin("p2", vmID: "z").metrics === plugins[2].metrics)
    let other = try state.plugin("another", vmID: "x")
    plugins[0] = other
    state.sweep()
    #expect(try state.enqueue(UInt64(token), [], plugin: plugins[1]).get() == 0)
    #expect(try state.register(bytes("q"), plugin: other).get() == token)
    // With its last plugin the vm_id is gone, and nobody else ever has its tokens.
    let remaining = plugins[1]
    plugins = []
    withExtendedLifetime(other) {}
    _ = consume other
    state.sweep()
    let again = try state.plugin("p0", vmID: "x")
    #expect(try state.register(bytes("q"), plugin: again).get() != token)
    guard case .failure(.status(.notFound)) = state.enqueue(UInt64(token), [], plugin: remaining) else {
      Issue.record("a token of what is gone reaches a queue")
      return
    }
  }

  @Test func aTokenReachesQueuesOfVMsAndThePluginsOwnAlone() throws {
    let (state, plugins) = try Self.state(["x", "", "y", ""])
    let named = try state.register(bytes("q"), plugin: plugins[0]).get()
    let own = try state.register(bytes("q"), plugin: plugins[1]).get()
    #expect(named != 0 && own != 0 && named != own)
    #expect(state.resolve(vm: bytes("x"), bytes("q"), plugin: plugins[3]) == named)
    #expect(state.resolve(vm: [], bytes("q"), plugin: plugins[0]) == named)
    #expect(state.resolve(vm: [], bytes("q"), plugin: plugins[1]) == own)
    #expect(state.resolve(vm: [], bytes("q"), plugin: plugins[3]) == nil)
    #expect(state.resolve(vm: bytes("y"), bytes("q"), plugin: plugins[0]) == nil)
    #expect(state.resolve(vm: bytes("p1"), bytes("q"), plugin: plugins[0]) == nil)
    #expect(try state.enqueue(UInt64(named), [], plugin: plugins[3]).get() == 0)
    // Who has not resolved a queue does not reach it by its number, and nobody of another vm_id takes its messages.
    for outcome in [
      state.enqueue(UInt64(named), [], plugin: plugins[2]), state.enqueue(UInt64(named), [], plugin: plugins[1]),
    ] {
      guard case .failure(.status(.notFound)) = outcome else {
        Issue.record("a guessed token reaches a queue")
        continue
      }
    }
    guard case .failure(.status(.notFound)) = state.dequeue(UInt64(named), plugin: plugins[3]) else {
      Issue.record("a plugin took a message of another vm_id")
      return
    }
    #expect(try state.dequeue(UInt64(named), plugin: plugins[0]).get() == [])
    #expect(try state.enqueue(UInt64(own), [], plugin: plugins[1]).get() == 1)
    for token in [UInt64(own), 0, 999, UInt64(UInt32.max), .max] {
      guard case .failure(.status(.notFound)) = state.enqueue(token, [], plugin: plugins[3]) else {
        Issue.record("token \(token) reaches a queue")
        continue
      }
    }
  }
}
