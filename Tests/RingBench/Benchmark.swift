import BulkheadRing
import BulkheadSystem
import CBulkheadRing
import CBulkheadSys
import Glibc

/// Runs every transport in turn, round after round, and prints the medians.
struct Benchmark {
  /// Where the two processes run.
  struct Placement {
    var name: String
    var front: Int
    var peer: Int
  }

  let rounds: Int
  private let placements: [Placement]

  init(arguments: [String]) throws {
    var rounds = 7
    var rest = arguments.dropFirst()
    while let argument = rest.popFirst() {
      guard argument == "--rounds", let text = rest.popFirst(), let number = Int(text), (1...1000).contains(number)
      else {
        throw BenchmarkError("usage: bulkhead-ringbench [--rounds N]")
      }
      rounds = number
    }
    self.rounds = rounds
    let cpus = allowedCPUs()
    let first = cpus.first ?? 0
    placements =
      [Placement(name: "one CPU", front: first, peer: first)]
      + cpus.dropFirst().prefix(1).map { Placement(name: "two CPUs", front: first, peer: $0) }
  }

  func run() throws {
    // Two that never sleep make no sense on one CPU.
    let runs = placements.flatMap { placement in
      Transport.allCases.filter { !$0.isAwake || placement.front != placement.peer }.map { (placement, $0) }
    }
    var results = [[Double]](repeating: [], count: runs.count)
    for _ in 0..<rounds {
      for (index, (placement, transport)) in runs.enumerated() {
        results[index].append(try measure(transport, placement))
      }
    }
    print("| round trip between two processes | CPUs | median | fastest | slowest |")
    print("|---|---|---:|---:|---:|")
    for ((placement, transport), result) in zip(runs, results) {
      let sorted = result.sorted()
      guard let fastest = sorted.first, let slowest = sorted.last else { continue }
      print(
        "| \(Self.title(transport)) | \(placement.name) | \(Self.text(sorted[sorted.count / 2])) "
          + "| \(Self.text(fastest)) | \(Self.text(slowest)) |")
    }
  }

  private static func title(_ transport: Transport) -> String {
    switch transport {
    case .futex: "bare futex both ways, asleep"
    case .pipe: "bare pipe both ways, asleep"
    case .mixed: "bare futex there, pipe back, asleep"
    case .ring: "rings, 256 bytes there and 64 back, asleep"
    case .word: "bare word in shared memory, awake"
    case .awakeRing: "rings, 256 bytes there and 64 back, awake"
    case .hostcall: "a hostcall: 64 bytes to the front and 64 back, asleep"
    case .awakeHostcall: "a hostcall: 64 bytes to the front and 64 back, awake"
    }
  }

  /// Microseconds with two digits behind the point; Foundation is not linked for that.
  private static func text(_ nanoseconds: Double) -> String {
    let hundredths = Int((nanoseconds / 10).rounded())
    let fraction = hundredths % 100
    return "\(hundredths / 100).\(fraction < 10 ? "0" : "")\(fraction) us"
  }

  /// Nanoseconds a round trip.
  private func measure(_ transport: Transport, _ placement: Placement) throws -> Double {
    guard let layout = Shared.layout else { throw BenchmarkError("the layout is wrong") }
    let memory = try Memfd.shared(name: "ringbench", size: layout.totalBytes)
    let mapping = try Mapping(memory.descriptor.raw, size: layout.totalBytes, writable: true)
    // Whoever waits, waits in read.
    let there = try Pipe()
    let back = try Pipe()
    let shared = Shared(
      memory: mapping.base, there: Bell(listen: there.read.raw, ring: there.write.raw),
      back: Bell(listen: back.read.raw, ring: back.write.raw))
    let arguments = PeerArguments(transport: transport, cpu: placement.peer)
    let peer = try ProcessSpawner.spawn(
      SpawnRequest(
        executable: "/proc/self/exe", arguments: arguments.list,
        descriptors: [
          0, 1, 2, memory.descriptor.raw, shared.there.listen, shared.there.ring, shared.back.listen, shared.back.ring,
        ]))
    try pin(to: placement.front)
    let nanoseconds = try pingPong(transport, shared, layout)
    guard try peer.wait() == .exited(code: 0) else { throw BenchmarkError("the other process failed") }
    return nanoseconds
  }

  /// One warm-up of a tenth, which also waits for the peer to come up, then the messages that count, then the farewell.
  private func pingPong(_ transport: Transport, _ shared: Shared, _ layout: ChannelLayout) throws -> Double {
    let messages = transport.messages
    let warmUp = messages / 10
    switch transport {
    case .futex, .word:
      let asleep = !transport.isAwake
      let time = timed(messages, warmUp) { number in
        post(shared.thereWord, number, wake: asleep)
        _ = look(shared.backWord, otherThan: number &- 1, asleep: asleep)
      }
      post(shared.thereWord, farewell, wake: asleep)
      return time
    case .pipe:
      let time = timed(messages, warmUp) { _ in
        signal(shared.there)
        _ = take(shared.back)
      }
      signal(shared.there, 2)
      return time
    case .mixed:
      let time = timed(messages, warmUp) { number in
        post(shared.thereWord, number, wake: true)
        _ = take(shared.back)
      }
      post(shared.thereWord, farewell, wake: true)
      return time
    case .ring, .awakeRing:
      return try ringPingPong(shared, layout, messages, warmUp, asleep: !transport.isAwake)
    case .hostcall, .awakeHostcall:
      return try hostcalls(shared, layout, messages, warmUp, asleep: !transport.isAwake)
    }
  }

  private func hostcalls(
    _ shared: Shared, _ layout: ChannelLayout, _ messages: Int, _ warmUp: Int, asleep: Bool
  ) throws -> Double {
    guard let channel = WorkerChannel(memory: shared.memory, layout: layout, doorbells: [shared.there.ring]) else {
      throw BenchmarkError("the worker's end does not open")
    }
    let question = [UInt8](repeating: 5, count: 64)
    func ask() throws {
      guard try question.withUnsafeBytes({ bytes throws(RingError) in try channel.reply(bytes, loop: 0) }) else {
        throw BenchmarkError("the ring is full")
      }
      while try channel.nextAnswer(loop: 0) == nil {
        if asleep {
          channel.sleepForAnswer(loop: 0, timeoutNanoseconds: 10_000_000)
        } else {
          _ = channel.spinForAnswer(loop: 0, nanoseconds: 1_000_000)
        }
      }
    }
    for _ in 0..<warmUp { try ask() }
    let start = bh_monotonic_ns()
    for _ in 0..<messages { try ask() }
    let time = Double(bh_monotonic_ns() &- start) / Double(messages)
    _ = try channel.reply(UnsafeRawBufferPointer(start: nil, count: 0), loop: 0)
    return time
  }

  private func ringPingPong(
    _ shared: Shared, _ layout: ChannelLayout, _ messages: Int, _ warmUp: Int, asleep: Bool
  ) throws -> Double {
    guard let channel = FrontChannel(memory: shared.memory, layout: layout, loop: 0) else {
      throw BenchmarkError("the front's end does not open")
    }
    let record = [UInt8](repeating: 5, count: 256)
    func send(_ bytes: UnsafeRawBufferPointer) throws {
      guard try channel.publish(bytes) else { throw BenchmarkError("the ring is full") }
      channel.wakeWorker()
    }
    func roundTrip() throws {
      try record.withUnsafeBytes(send)
      while try channel.nextReply() == nil {
        if !asleep {
          bh_cpu_relax()
        } else if channel.fallAsleep() {
          _ = take(shared.back)
          channel.wakeUp()
        }
      }
    }
    for _ in 0..<warmUp { try roundTrip() }
    let start = bh_monotonic_ns()
    for _ in 0..<messages { try roundTrip() }
    let time = Double(bh_monotonic_ns() &- start) / Double(messages)
    try send(UnsafeRawBufferPointer(start: nil, count: 0))
    return time
  }

  /// Nanoseconds a call over `messages` calls, after `warmUp` that do not count; calls are numbered from 1.
  private func timed(_ messages: Int, _ warmUp: Int, _ body: (UInt32) -> Void) -> Double {
    var number: UInt32 = 0
    for _ in 0..<warmUp {
      number &+= 1
      body(number)
    }
    let start = bh_monotonic_ns()
    for _ in 0..<messages {
      number &+= 1
      body(number)
    }
    return Double(bh_monotonic_ns() &- start) / Double(messages)
  }
}
