import BulkheadRing
import CBulkheadRing
import Glibc
import Testing

/// The front on a thread of its own: answers each reply with the reply's bytes.
private final class AnsweringFront: @unchecked Sendable {
  // Used by its thread alone after it has started; the count is read after the thread has ended.
  private let channel: FrontChannel
  private let rounds: Int
  private(set) var failures = 0

  init(_ channel: FrontChannel, rounds: Int) {
    self.channel = channel
    self.rounds = rounds
  }

  func run() {
    for _ in 0..<rounds {
      var record: UnsafeRawBufferPointer?
      while record == nil { record = (try? channel.nextReply()) ?? nil }
      guard let record, (try? channel.answer(record)) == true else {
        failures += 1
        return
      }
    }
  }
}

@Suite struct AnswerTests {
  @Test(arguments: [false, true]) func anAnswerFindsTheWorkerAwakeOrAsleep(asleep: Bool) throws {
    let fixture = RingFixture()
    let worker = fixture.worker()
    let rounds = 500
    let front = AnsweringFront(fixture.front(), rounds: rounds)
    let thread = TestThread { front.run() }
    for round in 0..<rounds {
      let question = [UInt8](repeating: UInt8(truncatingIfNeeded: round), count: 1 + round % 300)
      #expect(try question.reply(worker))
      var answer = try worker.nextAnswer(loop: 0)
      while answer == nil {
        if asleep {
          worker.sleepForAnswer(loop: 0, timeoutNanoseconds: 1_000_000_000)
        } else {
          _ = worker.spinForAnswer(loop: 0, nanoseconds: 1_000_000)
        }
        answer = try worker.nextAnswer(loop: 0)
      }
      #expect(answer.map { [UInt8]($0) } == question)
    }
    thread.join()
    #expect(front.failures == 0)
  }

  @Test func aLoopThatIsNotThereHasNoAnswers() throws {
    let fixture = RingFixture()
    let worker = fixture.worker()
    for loop in [-1, 1] {
      #expect(try worker.nextAnswer(loop: loop) == nil)
      #expect(!worker.spinForAnswer(loop: loop, nanoseconds: 1))
      worker.sleepForAnswer(loop: loop, timeoutNanoseconds: 1)
    }
  }

  @Test func waitingForAnAnswerEndsWithItsTime() {
    let fixture = RingFixture()
    let worker = fixture.worker()
    #expect(!worker.spinForAnswer(loop: 0, nanoseconds: 1_000))
    worker.sleepForAnswer(loop: 0, timeoutNanoseconds: 1_000)
    #expect(bh_load_acquire(fixture.memory) == 0, "awake again")
  }

  @Test func aHostileAnswerRingIsAnError() throws {
    let fixture = RingFixture()
    let worker = fixture.worker()
    bh_store_release(fixture.cursors() + BH_ANSWERS_TAIL, 3)
    #expect(throws: RingError.cursorOutOfRange) { try worker.nextAnswer(loop: 0) }
  }
}
