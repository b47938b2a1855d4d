import BulkheadRing
import Synchronization
import Testing

/// The front takes back what the worker has not begun: both sides agree on what was, whoever comes first.
@Suite struct RevocationTests {
  private static func begin(_ worker: WorkerChannel, _ sequence: UInt64, loop: Int = 0) {
    worker.begin(callback: 3, loop: loop, stream: 1, sequence: sequence, nowNanoseconds: 1)
  }

  @Test func whatWasBegunBeforeIsNamedAndWhatComesAfterIsNotBegun() {
    let fixture = RingFixture()
    let (front, worker) = (fixture.front(), fixture.worker())
    Self.begin(worker, 1)
    #expect(!worker.isRevoked(sequence: 1, loop: 0), "nothing was taken back yet")
    #expect(front.revoke(through: 3) == 1, "the worker is at it")
    worker.end(memoryBytes: 0, droppedLogLines: 0)
    for (sequence, isRevoked) in [(2, true), (3, true), (4, false)] as [(UInt64, Bool)] {
      Self.begin(worker, sequence)
      #expect(worker.isRevoked(sequence: sequence, loop: 0) == isRevoked)
      worker.end(memoryBytes: 0, droppedLogLines: 0)
    }
  }

  @Test func aWorkerThatIsAtNothingOrAtAnotherLoopsRecordHasBegunNone() {
    let fixture = RingFixture(eventLoops: 2)
    let worker = fixture.worker()
    #expect(fixture.front(0).revoke(through: 5) == 0)
    Self.begin(worker, 7, loop: 1)
    #expect(fixture.front(0).revoke(through: 6) == 0)
    #expect(fixture.front(1).revoke(through: 9) == 7)
    #expect(worker.isRevoked(sequence: 6, loop: 0) && !worker.isRevoked(sequence: 7, loop: 0))
    #expect(worker.isRevoked(sequence: 9, loop: 1) && !worker.isRevoked(sequence: 10, loop: 1))
    #expect(!worker.isRevoked(sequence: 1, loop: 2) && !worker.isRevoked(sequence: 1, loop: -1), "no such loop")
  }

  /// One side begins records in order, the other takes them back: none is run that the other side takes for not begun.
  @Test func aRecordIsBegunOrTakenBackAndNeverBoth() {
    let fixture = RingFixture()
    let (front, worker) = (fixture.front(), fixture.worker())
    let ran = Atomic<UInt64>(0)
    // What it had run when it last said that it is at none.
    let finished = Atomic<UInt64>(0)
    for round in 0..<2_000 as Range<UInt64> {
      let base = round * 10
      ran.store(base, ordering: .relaxed)
      let thread = TestThread {
        for sequence in (base + 1)...(base + 10) {
          Self.begin(worker, sequence)
          let isRevoked = worker.isRevoked(sequence: sequence, loop: 0)
          if !isRevoked { ran.store(sequence, ordering: .relaxed) }
          // Not on the page: who reads that while it is written sees one value of before and one of after.
          finished.store(ran.load(ordering: .relaxed), ordering: .sequentiallyConsistent)
          worker.end(memoryBytes: 0, droppedLogLines: 0)
          if isRevoked { return }
        }
      }
      let begun = front.revoke(through: base + 10)
      // Where it was at none, it had ended what it ran by then.
      let ended = finished.load(ordering: .sequentiallyConsistent)
      thread.join()
      let last = ran.load(ordering: .relaxed)
      #expect(last <= max(begun, ended, base), "\(last) was run, and \(begun) begun")
    }
  }

  @Test func eachRunHasANumberOfItsOwn() {
    let fixture = RingFixture()
    let (front, worker) = (fixture.front(), fixture.worker())
    var numbers: Set<UInt32> = []
    for sequence in 1...100 as ClosedRange<UInt64> {
      let run = worker.begin(callback: 3, loop: 0, stream: 1, sequence: sequence, nowNanoseconds: 1)
      #expect(run != 0 && front.status.runNumber == run, "whoever reads the page names the same run")
      numbers.insert(run)
      worker.end(memoryBytes: 0, droppedLogLines: 0)
    }
    #expect(numbers.count == 100)
  }
}
