import BulkheadCore
import BulkheadRing
import BulkheadWire
import Glibc
import Testing

@testable import BulkheadWorker

/// A channel of two event loops in memory of this process; nobody looks at its doorbells.
private final class Channel {
  let memory: UnsafeMutableRawPointer
  let layout: ChannelLayout
  let worker: WorkerChannel
  let fronts: [FrontChannel]

  init() throws {
    layout = try #require(ChannelLayout(eventLoops: 2, callbackBytes: 4_096, replyBytes: 4_096, answerBytes: 4_096))
    memory = mmap(nil, layout.totalBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)
    worker = try #require(WorkerChannel(memory: memory, layout: layout, doorbells: [-1, -1]))
    let (memory, layout) = (memory, layout)
    fronts = try (0..<2).map { try #require(FrontChannel(memory: memory, layout: layout, loop: $0)) }
  }

  deinit { munmap(memory, layout.totalBytes) }

  func answer(_ sequence: UInt64, number: UInt64 = 0, loop: Int = 1) throws {
    var writer = WireWriter()
    writer.hostcallAnswer(sequence: sequence, status: 0, number: number)
    let isSent = try fronts[loop].answer(writer.bytes)
    #expect(isSent)
  }
}

@Suite struct FrontQuestionTests {
  /// Asks and publishes the question, which is returned.
  private static func ask(_ questions: FrontQuestions, _ channel: Channel, loop: Int = 1) throws -> UInt64 {
    let none = UnsafeRawBufferPointer(start: nil, count: 0)
    let record = questions.record(.getMetric, number: 7, key: none, value: none, extra: none)
    let isSent = try channel.worker.reply(record, loop: loop)
    #expect(isSent)
    let reply = try ReplyRecord(try #require(try channel.fronts[loop].nextReply()))
    #expect(reply.kind == .hostcall)
    var rest = reply.rest
    let request = try HostcallRequest(&rest)
    #expect(request.call == .getMetric && request.number == 7)
    return reply.sequence
  }

  @Test func theAnswerIsTheOneWithTheQuestionsNumber() throws {
    let channel = try Channel()
    let questions = FrontQuestions(channel: channel.worker, maximumSpinMicroseconds: 0, isInterrupted: { false })
    let first = try Self.ask(questions, channel)
    let second = try Self.ask(questions, channel)
    #expect(second == first + 1)
    try channel.answer(first, number: 1)
    try channel.answer(second, number: 2)
    #expect(questions.answer(loop: 1)?.number == 2)
    #expect(questions.broken == nil)
  }

  @Test func callbacksThatComeMeanwhileStayWhereTheyAre() throws {
    let channel = try Channel()
    let questions = FrontQuestions(channel: channel.worker, maximumSpinMicroseconds: 0, isInterrupted: { false })
    let number = try Self.ask(questions, channel)
    let callback: [UInt8] = [1, 2, 3]
    _ = try callback.withUnsafeBytes { try channel.fronts[0].publish($0) }
    channel.fronts[0].wakeWorker()
    try channel.answer(number)
    #expect(questions.answer(loop: 1) != nil)
    let waiting = try #require(try channel.worker.nextCallback())
    #expect([UInt8](waiting.record) == callback && waiting.loop == 0)
  }

  @Test func anAnswerToNoQuestionBreaksTheChannel() throws {
    let channel = try Channel()
    let questions = FrontQuestions(channel: channel.worker, maximumSpinMicroseconds: 0, isInterrupted: { false })
    let number = try Self.ask(questions, channel)
    try channel.answer(number + 1)
    #expect(questions.answer(loop: 1) == nil)
    #expect(questions.broken?.contains("which was not made, on event loop 1") == true)
  }

  @Test func anAnswerThatIsNoneBreaksTheChannel() throws {
    let channel = try Channel()
    let questions = FrontQuestions(channel: channel.worker, maximumSpinMicroseconds: 0, isInterrupted: { false })
    _ = try Self.ask(questions, channel)
    _ = try [9, 9].withUnsafeBytes { try channel.fronts[1].answer($0) }
    #expect(questions.answer(loop: 1) == nil)
    #expect(questions.broken?.hasPrefix("the answer ring of event loop 1") == true)
  }

  @Test func aFrontThatDoesNotAnswerIsGivenUp() throws {
    let channel = try Channel()
    let questions = FrontQuestions(
      channel: channel.worker, maximumSpinMicroseconds: 10, patience: 2_000_000, isInterrupted: { false })
    _ = try Self.ask(questions, channel)
    #expect(questions.answer(loop: 1) == nil)
    #expect(questions.broken == "the front left a hostcall without its answer on event loop 1 for 2 ms")
  }

  @Test func aGuestThatWasInterruptedWaitsNoLonger() throws {
    let channel = try Channel()
    let questions = FrontQuestions(channel: channel.worker, maximumSpinMicroseconds: 0, isInterrupted: { true })
    _ = try Self.ask(questions, channel)
    #expect(questions.answer(loop: 1) == nil)
    #expect(questions.broken == nil, "the guest traps, and that is what is said then")
  }
}
