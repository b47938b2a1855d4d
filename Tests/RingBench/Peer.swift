import BulkheadRing
import BulkheadSystem
import CBulkheadRing
import Glibc

/// The other process: answers every message until it is told to go. Its descriptors are 3 the memory, 4 and 5
/// the bell that wakes it, 6 and 7 the one that it wakes the first process with.
struct PeerArguments {
  static let mark = "--peer"

  let transport: Transport
  let cpu: Int

  /// Nil where these are not the arguments of a peer.
  init?(_ arguments: [String]) {
    guard arguments.count == 4, arguments[1] == Self.mark, let transport = Transport(rawValue: arguments[2]),
      let cpu = Int(arguments[3])
    else { return nil }
    self.transport = transport
    self.cpu = cpu
  }

  init(transport: Transport, cpu: Int) {
    self.transport = transport
    self.cpu = cpu
  }

  var list: [String] { ["bulkhead-ringbench", Self.mark, transport.rawValue, "\(cpu)"] }

  func serve() throws {
    try pin(to: cpu)
    guard let layout = Shared.layout else { throw BenchmarkError("the layout is wrong") }
    let shared = Shared(
      memory: try Mapping(3, size: layout.totalBytes, writable: true).leak(), there: Bell(listen: 4, ring: 5),
      back: Bell(listen: 6, ring: 7))
    switch transport {
    case .futex, .word: serveWords(shared, asleep: !transport.isAwake)
    case .pipe: while take(shared.there) == 1 { signal(shared.back) }
    case .mixed: serveMixed(shared)
    case .ring, .awakeRing: try serveRing(shared, layout, asleep: !transport.isAwake)
    case .hostcall, .awakeHostcall: try serveHostcalls(shared, layout, asleep: !transport.isAwake)
    }
  }

  private func serveWords(_ shared: Shared, asleep: Bool) {
    var seen: UInt32 = 0
    while true {
      seen = look(shared.thereWord, otherThan: seen, asleep: asleep)
      if seen == farewell { return }
      post(shared.backWord, seen, wake: asleep)
    }
  }

  private func serveMixed(_ shared: Shared) {
    var seen: UInt32 = 0
    while true {
      seen = look(shared.thereWord, otherThan: seen, asleep: true)
      if seen == farewell { return }
      signal(shared.back)
    }
  }

  /// The front's part: the process that measures is the worker here, since it is the worker that waits.
  private func serveHostcalls(_ shared: Shared, _ layout: ChannelLayout, asleep: Bool) throws {
    guard let channel = FrontChannel(memory: shared.memory, layout: layout, loop: 0) else {
      throw BenchmarkError("the front's end does not open")
    }
    let answer = [UInt8](repeating: 7, count: 64)
    while true {
      guard let question = try channel.nextReply() else {
        if !asleep {
          bh_cpu_relax()
        } else if channel.fallAsleep() {
          _ = take(shared.there)
          channel.wakeUp()
        }
        continue
      }
      if question.isEmpty { return }
      _ = try answer.withUnsafeBytes { bytes throws(RingError) in try channel.answer(bytes) }
    }
  }

  private func serveRing(_ shared: Shared, _ layout: ChannelLayout, asleep: Bool) throws {
    guard let channel = WorkerChannel(memory: shared.memory, layout: layout, doorbells: [shared.back.ring]) else {
      throw BenchmarkError("the worker's end does not open")
    }
    let reply = [UInt8](repeating: 7, count: 64)
    while true {
      guard let (record, loop) = try channel.nextCallback() else {
        if asleep { channel.sleep(timeoutNanoseconds: 0) } else { _ = channel.spin(nanoseconds: 1_000_000) }
        continue
      }
      if record.isEmpty { return }
      _ = try reply.withUnsafeBytes { bytes throws(RingError) in try channel.reply(bytes, loop: loop) }
      channel.finish(loop: loop)
    }
  }
}
