import BulkheadSystem
import BulkheadWire
import Glibc
import Testing

@testable import BulkheadFront

/// A supervisor that reads when a test says so, and the log's pipe.
private final class SlowSupervisor {
  let sink: EventSink
  private let front: Descriptor
  private var supervisor: Descriptor?
  private let logReader: Descriptor
  private let logWriter: Descriptor

  init() throws {
    var ends: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, Int32(SOCK_SEQPACKET.rawValue | SOCK_NONBLOCK.rawValue), 0, &ends) == 0 else {
      throw Failed()
    }
    front = Descriptor(owning: ends[0])
    supervisor = Descriptor(owning: ends[1])
    // Little room, so that few events fill it.
    var room: Int32 = 4_096
    setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, socklen_t(MemoryLayout<Int32>.size))
    guard pipe(&ends) == 0 else { throw Failed() }
    for end in ends { _ = fcntl(end, F_SETFL, O_NONBLOCK) }
    logReader = Descriptor(owning: ends[0])
    logWriter = Descriptor(owning: ends[1])
    sink = EventSink(descriptor: front.raw, log: FrontLog(descriptor: logWriter.raw, level: .warn))
  }

  struct Failed: Error {}

  func goAway() { supervisor = nil }

  /// Reads until nothing is left on the way.
  func readAll() throws -> [FrontEvent] {
    var events: [FrontEvent] = []
    var buffer = [UInt8](repeating: 0, count: 128 << 10)
    guard let raw = supervisor?.raw else { return [] }
    var isLast = false
    while true {
      let count = recv(raw, &buffer, buffer.count, 0)
      if count > 0 {
        events.append(try buffer.withUnsafeBytes { try FrontEvent(UnsafeRawBufferPointer(rebasing: $0.prefix(count))) })
        isLast = false
      } else if isLast {
        return events
      } else {
        isLast = sink.flush()
      }
    }
  }

  /// What was logged, as one text.
  var log: String {
    var text = ""
    var buffer = [UInt8](repeating: 0, count: 4_096)
    while true {
      let count = read(logReader.raw, &buffer, buffer.count)
      guard count > 0 else { return text }
      text += String(decoding: buffer.prefix(count), as: UTF8.self)
    }
  }
}

@Suite(.timeLimit(.minutes(1)))
struct EventSinkTests {
  private static let answers: [FrontEvent] = [
    .serving, .workerGone(worker: 7), .chainActivated(generation: 3), .pluginDrained(plugin: 2), .pong(number: 9),
  ]

  @Test func anAnswerArrivesHoweverMuchNewsWaitsBeforeIt() throws {
    let supervisor = try SlowSupervisor()
    let news = EventSink.maximumWaiting + 1_000
    for number in 0..<news { supervisor.sink.send(.spareWanted(plugin: UInt32(number))) }
    for answer in Self.answers { supervisor.sink.send(answer) }
    for _ in 0..<10 { supervisor.sink.send(.laneWanted(plugin: 1)) }
    let events = try supervisor.readAll()
    #expect(Array(events.suffix(Self.answers.count)) == Self.answers)
    // The news that came first is there, in order.
    let kept = events.dropLast(Self.answers.count)
    #expect(kept.count >= EventSink.maximumWaiting)
    #expect(Array(kept) == (0..<kept.count).map { .spareWanted(plugin: UInt32($0)) })
    let dropped = news + 10 - kept.count
    #expect(supervisor.log.contains("\(dropped) events were dropped while the supervisor did not read"))
  }

  @Test func answersAreKeptBeyondTheBoundOfNews() throws {
    let supervisor = try SlowSupervisor()
    let count = EventSink.maximumWaiting + 500
    for number in 0..<count { supervisor.sink.send(.workerGone(worker: UInt64(number))) }
    #expect(try supervisor.readAll() == (0..<count).map { .workerGone(worker: UInt64($0)) })
    #expect(supervisor.log.isEmpty)
  }

  @Test func anEventThatTheSocketCannotTakeIsLoggedAndHoldsUpNoOther() throws {
    let supervisor = try SlowSupervisor()
    supervisor.sink.send(
      .metrics(number: 1, isLast: true, text: String(repeating: "m", count: FrontEvent.maximumMetricsText)))
    supervisor.sink.send(.pong(number: 2))
    #expect(try supervisor.readAll() == [.pong(number: 2)])
    #expect(supervisor.log.contains("an event for the supervisor was lost"))
  }

  @Test func nothingIsKeptForASupervisorThatIsGone() throws {
    let supervisor = try SlowSupervisor()
    for _ in 0..<200 { supervisor.sink.send(.spareWanted(plugin: 1)) }
    #expect(!supervisor.sink.flush())
    supervisor.goAway()
    #expect(supervisor.sink.flush())
    supervisor.sink.send(.serving)
    #expect(supervisor.sink.flush())
    #expect(supervisor.log.isEmpty)
  }

  @Test func aFlushThatWaitsSeesTheSupervisorRead() throws {
    let supervisor = try SlowSupervisor()
    for _ in 0..<200 { supervisor.sink.send(.spareWanted(plugin: 1)) }
    #expect(!supervisor.sink.flush(waitingAtMost: 1))
    supervisor.sink.send(.drained)
    #expect(try supervisor.readAll().last == .drained)
    #expect(supervisor.sink.flush(waitingAtMost: 1_000))
  }
}
