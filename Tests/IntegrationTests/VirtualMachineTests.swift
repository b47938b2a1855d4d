import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// How many streams the end of a VM takes with it: those of one of a worker's, or one alone.
@Suite struct VirtualMachineTests {
  private static func instance(_ machines: String, strategy: String = "FAIL_CLOSE") throws -> Bulkhead {
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "counting", module: "counting", failStrategy: strategy, policy: "machines")],
      files: ["policies/machines.yaml": "name: machines\nextends: renewing\nvms: \(machines)\n"])
    try bulkhead.wait("it has served") { try bulkhead.get().status == 200 }
    return bulkhead
  }

  /// Requests whose bodies have begun: each has state in a VM.
  private static func open(_ count: Int, _ bulkhead: Bulkhead) throws -> [HTTPConnection] {
    try (0..<count).map { _ in
      let connection = try bulkhead.connection()
      try connection.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbo")
      return connection
    }
  }

  private static func callbacks(_ bulkhead: Bulkhead) throws -> UInt64 {
    try bulkhead.worker(of: "counting")?.callbacks ?? 0
  }

  /// Opens the streams, ends one VM, and says how many of them go on.
  private static func survivors(of count: Int, _ bulkhead: Bulkhead) throws -> Int {
    let before = try callbacks(bulkhead)
    let streams = try open(count, bulkhead)
    try bulkhead.wait("all have shown their headers and the beginning of their bodies") {
      try callbacks(bulkhead) >= before + UInt64(2 * count)
    }
    #expect(try bulkhead.get("/", [("x-fault", "1")]).status == 503)
    var served = 0
    for stream in streams {
      // One whose VM ended was answered by now; what it sends on is nobody's.
      try? stream.send("dy")
      if try stream.receive().status == 200 { served += 1 }
    }
    return served
  }

  @Test func theEndOfOneOfFourVMsTakesItsOwnStreamsAlone() throws {
    let bulkhead = try Self.instance("4")
    // Eight streams are two a VM; the one that kills comes to one of the four.
    #expect(try Self.survivors(of: 8, bulkhead) == 6)
    #expect(try bulkhead.plugin("counting").vmDeaths == 1)
    #expect(try bulkhead.get().status == 200)
    let worker = try #require(try bulkhead.worker(of: "counting"))
    #expect(worker.virtualMachines == 4 && worker.vmDeaths == 1)
  }

  @Test func theEndOfTheOnlyVMTakesAllStreams() throws {
    let bulkhead = try Self.instance("1")
    #expect(try Self.survivors(of: 8, bulkhead) == 0)
    #expect(try bulkhead.get().status == 200)
  }

  @Test func whereEachStreamHasItsOwnVMNoneSeesOrTakesAnother() throws {
    let bulkhead = try Self.instance("stream")
    for _ in 0..<50 {
      let answer = try bulkhead.get()
      #expect(answer.status == 200 && answer.header("x-number") == "1", "its VM has begun no other: \(answer)")
    }
    #expect(try Self.survivors(of: 8, bulkhead) == 8)
    for _ in 0..<20 { #expect(try bulkhead.get("/", [("x-fault", "1")]).status == 503) }
    #expect(try bulkhead.get().status == 200)
    #expect(try bulkhead.plugin("counting").vmDeaths == 21)
  }

  /// More streams than VMs: what finds none waits, and none is lost.
  @Test func moreStreamsThanThereMayBeVMsAreServedInTurn() throws {
    let bulkhead = try Self.instance("stream")
    let load = Load(port: bulkhead.port, connections: 100) { answer in
      answer.status == 200 && answer.header("x-number") == "1" ? nil : "\(answer)"
    }
    try bulkhead.wait("the load has gone through") { load.total > 1_000 }
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
  }

  /// A VM that is made on a request's way is as well watched as those that are kept ready.
  @Test func aCallbackThatLoopsInAVMOfItsOwnIsInterruptedAndItsWorkerLives() throws {
    let bulkhead = try Self.instance("stream")
    let worker = try #require(try bulkhead.worker(of: "counting"))
    let loops = try (0..<12).map { _ in
      let connection = try bulkhead.connection()
      try connection.send("GET / HTTP/1.1\r\nhost: a\r\nx-fault: loop\r\n\r\n")
      return connection
    }
    for loop in loops { #expect(try loop.receive().status == 503) }
    try bulkhead.wait("each has ended its VM") { try bulkhead.plugin("counting").vmDeaths == 12 }
    #expect(try bulkhead.workers().contains { $0.pid == worker.pid && $0.state == .ready })
    #expect(try bulkhead.plugin("counting").restarts == 0)
    #expect(try bulkhead.get().status == 200)
  }

  @Test func streamsAreSpreadOverTheVMs() throws {
    let bulkhead = try Self.instance("4")
    let streams = try Self.open(8, bulkhead)
    for stream in streams { try stream.send("dy") }
    let numbers = try streams.compactMap { try $0.receive().header("x-number").flatMap { Int($0) } }
    #expect(numbers.count == 8 && numbers.allSatisfy { $0 <= 4 }, "no VM has begun all of them: \(numbers)")
  }
}
