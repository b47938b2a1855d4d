import BulkheadRing
import CBulkheadRing
import Glibc
import Testing

@Suite struct RingTests {
  @Test(arguments: [0, 1, 7, 8, 100, 4088] as [Int]) func aRecordOfAnySizeComesBack(_ size: Int) throws {
    let fixture = RingFixture()
    let front = fixture.front()
    let worker = fixture.worker()
    let record = (0..<size).map { UInt8(truncatingIfNeeded: $0) }
    #expect(try record.send(front))
    let received = try #require(try worker.nextCallback())
    #expect([UInt8](received.record) == record)
    #expect(received.loop == 0)
    worker.finish(loop: 0)
    #expect(try worker.nextCallback() == nil)
  }

  @Test func aRecordThatCanNeverFitIsRefused() throws {
    let fixture = RingFixture()
    #expect(try [UInt8](repeating: 1, count: 4089).send(fixture.front()) == false)
  }

  @Test func aFullRingRefusesUntilTheReaderReleases() throws {
    let fixture = RingFixture()
    let front = fixture.front()
    let worker = fixture.worker()
    let record = [UInt8](repeating: 5, count: 1016)
    for _ in 0..<4 { #expect(try record.send(front)) }
    #expect(try record.send(front) == false)
    _ = try worker.nextCallback()
    #expect(try record.send(front) == false, "the record is still being dealt with")
    worker.finish(loop: 0)
    #expect(try record.send(front))
  }

  @Test func theFrontSeesWhenACallbackWasDealtWith() throws {
    let fixture = RingFixture()
    let front = fixture.front()
    let worker = fixture.worker()
    #expect(try [1].send(front))
    let first = front.callbackPosition
    #expect(try [2].send(front))
    let second = front.callbackPosition
    #expect(try front.isDealtWith(first) == false)
    _ = try worker.nextCallback()
    #expect(try front.isDealtWith(first) == false)
    worker.finish(loop: 0)
    #expect(try front.isDealtWith(first))
    #expect(try front.isDealtWith(second) == false)
  }

  @Test func aRecordWhoseEndLiesElsewhereWrapsAroundWhole() throws {
    let fixture = RingFixture()
    let front = fixture.front()
    let worker = fixture.worker()
    for round in 0..<5_000 {
      let head = (0..<round % 40).map { UInt8(truncatingIfNeeded: $0) }
      let pieces = (0..<round % 5).map {
        [UInt8](repeating: UInt8(truncatingIfNeeded: round &+ $0), count: round % 311)
      }
      let tail = pieces.reduce(0) { $0 + $1.count }
      // One piece too many is left out.
      let sent = try head.withUnsafeBytes { bytes in
        try front.publish(bytes, tail: tail) { put in
          for piece in pieces + [[9, 9, 9]] { piece.withUnsafeBytes { put($0) } }
        }
      }
      #expect(sent)
      let received = try #require(try worker.nextCallback())
      #expect([UInt8](received.record) == head + pieces.flatMap { $0 })
      worker.finish(loop: 0)
    }
    #expect(try front.publish(UnsafeRawBufferPointer(start: nil, count: 0), tail: 5_000) { _ in } == false)
  }

  @Test func whatIsSkippedAtTheEndOfARingIsNoUseOfIt() throws {
    let fixture = RingFixture(ring: 64 << 10)
    let front = fixture.front()
    let worker = fixture.worker()
    let record = [UInt8](repeating: 1, count: 1_000)
    var largest = 0
    for _ in 0..<500 {
      #expect(try record.send(front))
      largest = max(largest, front.occupancy.callbacks)
      _ = try #require(try worker.nextCallback())
      #expect(try record.reply(worker))
      largest = max(largest, front.occupancy.callbacks, front.occupancy.replies)
      worker.finish(loop: 0)
      #expect(front.occupancy.callbacks == 0)
      _ = try #require(try front.nextReply())
      #expect(front.occupancy.replies == 0)
    }
    #expect(largest == 1_008)
  }

  @Test func recordsWrapAroundTheEndWhole() throws {
    let fixture = RingFixture()
    let front = fixture.front()
    let worker = fixture.worker()
    for round in 0..<10_000 {
      let record = [UInt8](repeating: UInt8(truncatingIfNeeded: round), count: round % 1_500)
      #expect(try record.send(front))
      let received = try #require(try worker.nextCallback())
      #expect(received.record.elementsEqual(record))
      worker.finish(loop: 0)
    }
  }

  @Test func aRingThatIsNeverFullStaysInItsFirstPages() throws {
    let fixture = RingFixture(ring: 256 << 10)
    let front = fixture.front()
    let worker = fixture.worker()
    for round in 0..<2_000 {
      let record = [UInt8](repeating: UInt8(truncatingIfNeeded: round | 1), count: 1 + round % 1_000)
      #expect(try record.send(front))
      let received = try #require(try worker.nextCallback())
      #expect(received.record.elementsEqual(record))
      worker.finish(loop: 0)
      #expect(try front.isDealtWith(front.callbackPosition))
    }
    let ring = UnsafeRawBufferPointer(start: fixture.cursors() + 4096, count: 256 << 10)
    #expect(ring[(20 << 10)...].allSatisfy { $0 == 0 })
  }

  @Test(arguments: [0, 1, 3] as [Int]) func largeRecordsPassHoweverFarTheRingIs(_ behind: Int) throws {
    let fixture = RingFixture(ring: 64 << 10)
    let front = fixture.front()
    let worker = fixture.worker()
    var random: UInt64 = 88_172_645_463_325_252
    var queue: [[UInt8]] = []
    for _ in 0..<3_000 {
      random ^= random << 13
      random ^= random >> 7
      random ^= random << 17
      let record = [UInt8](repeating: UInt8(truncatingIfNeeded: random), count: Int((random >> 20) % 15_000))
      #expect(try record.send(front), "there is always room for it")
      queue.append(record)
      while queue.count > behind {
        let received = try #require(try worker.nextCallback())
        #expect(received.record.elementsEqual(queue.removeFirst()))
        worker.finish(loop: 0)
      }
    }
    // A ring that is empty takes the largest record of all.
    while !queue.isEmpty {
      _ = try worker.nextCallback()
      worker.finish(loop: 0)
      queue.removeFirst()
    }
    #expect(try [UInt8](repeating: 1, count: (64 << 10) - 8).send(front))
  }

  @Test func everyEventLoopHasItsTurn() throws {
    let fixture = RingFixture(eventLoops: 3)
    let worker = fixture.worker()
    let fronts = (0..<3).map { fixture.front($0) }
    for front in fronts { for _ in 0..<2 { #expect(try [1].send(front)) } }
    var order: [Int] = []
    while let (_, loop) = try worker.nextCallback() {
      order.append(loop)
      worker.finish(loop: loop)
    }
    #expect(order == [0, 1, 2, 0, 1, 2])
  }

  @Test func aReplyRingsTheDoorbellOfASleepingLoopOnly() throws {
    let fixture = RingFixture()
    let front = fixture.front()
    let worker = fixture.worker()
    func rung() -> Bool {
      var poll = pollfd(fd: fixture.doorbellReaders[0], events: Int16(POLLIN), revents: 0)
      return Glibc.poll(&poll, 1, 0) == 1
    }
    #expect(try [1].reply(worker))
    #expect(!rung(), "the loop is awake")
    #expect(!front.fallAsleep(), "a reply is there")
    #expect(try front.nextReply().map { [UInt8]($0) } == [1])
    #expect(front.fallAsleep())
    #expect(try [2].reply(worker))
    #expect(rung())
    front.wakeUp()
    #expect(front.hasReply)
  }

  @Test func theStatusPageShowsWhatRuns() {
    let fixture = RingFixture()
    let worker = fixture.worker()
    let front = fixture.front()
    worker.begin(callback: 3, loop: 0, stream: 9, sequence: 4, nowNanoseconds: 77)
    #expect(front.status.callback == 3)
    #expect(front.status.stream == 9)
    #expect(front.status.sequence == 4)
    #expect(front.status.startedNanoseconds == 77)
    worker.end(memoryBytes: 65_536, droppedLogLines: 2)
    #expect(front.status.callback == 0)
    #expect(front.status.callbacks == 1)
    #expect(front.status.memoryBytes == 65_536)
    #expect(front.status.droppedLogLines == 2)
  }

  @Test(arguments: [(0, 4096), (1, 0), (65, 4096), (1, 4097), (1, 6144), (1, 128 << 20)])
  func aLayoutOutOfBoundsIsRefused(_ loops: Int, _ size: Int) {
    #expect(ChannelLayout(eventLoops: loops, callbackBytes: size, replyBytes: 4096, answerBytes: 4096) == nil)
  }
}

@Suite struct RingConcurrencyTests {
  /// Both directions at once, both sides falling asleep and waking each other: nothing is lost, reordered or torn.
  @Test(arguments: [0, 20_000] as [UInt64]) func aMillionBytesGoThereAndBack(_ spin: UInt64) throws {
    let fixture = RingFixture()
    let count = 20_000
    let thread = TestThread {
      let worker = fixture.worker()
      var answered = 0
      while answered < count {
        guard let (record, loop) = try? worker.nextCallback() else {
          if !worker.spin(nanoseconds: spin) { worker.sleep(timeoutNanoseconds: 1_000_000_000) }
          continue
        }
        let copy = [UInt8](record)
        while (try? copy.reply(worker, loop: loop)) == false { sched_yield() }
        worker.finish(loop: loop)
        answered += 1
      }
    }
    let front = fixture.front()
    var sent = 0
    var received = 0
    var wrong = 0
    func record(_ index: Int) -> [UInt8] {
      [UInt8](repeating: UInt8(truncatingIfNeeded: index), count: index % 97 + 1)
    }
    while received < count {
      while sent < count, sent - received < 16, try record(sent).send(front) { sent += 1 }
      while let reply = try front.nextReply() {
        if !reply.elementsEqual(record(received)) { wrong += 1 }
        received += 1
      }
      if received < sent, front.fallAsleep() {
        var value: UInt64 = 0
        _ = read(fixture.doorbellReaders[0], &value, 8)
        front.wakeUp()
      }
    }
    thread.join()
    #expect(wrong == 0)
  }
}

/// A peer that writes what it likes into the shared memory: the other side gets an error, or a record that was never
/// sent, but never a trap, a read outside the ring or an endless loop.
@Suite struct HostilePeerTests {
  static let nasty: [UInt32] = [0, 1, 4, 8, 4088, 4096, 4097, 4104, 8192, 1 << 31, .max, .max - 7, .max - 4095]

  @Test(arguments: nasty) func aReplyCursorThatCannotBeIsRefused(_ tail: UInt32) throws {
    let fixture = RingFixture()
    let front = fixture.front()
    bh_store_release(fixture.cursors() + BH_REPLIES_TAIL, tail)
    if tail == 0 {
      #expect(try front.nextReply() == nil)
    } else if tail <= 4096, tail % 8 == 0 {
      // Published zeros: records of no bytes.
      while let record = try front.nextReply() { #expect(record.count == 0) }
    } else {
      #expect(throws: RingError.cursorOutOfRange) { try front.nextReply() }
    }
  }

  @Test(arguments: nasty) func aHeadCursorThatCannotBeIsRefused(_ head: UInt32) throws {
    let fixture = RingFixture()
    let front = fixture.front()
    let record = [UInt8](repeating: 1, count: 1016)
    for _ in 0..<4 { #expect(try record.send(front)) }
    bh_store_release(fixture.cursors() + BH_CALLBACKS_HEAD, head)
    if head <= 4096 {
      _ = try record.send(front)
    } else {
      #expect(throws: RingError.cursorOutOfRange) { try record.send(front) }
    }
  }

  @Test(arguments: nasty) func aLengthThatCannotBeIsRefused(_ length: UInt32) throws {
    let fixture = RingFixture()
    let front = fixture.front()
    let replies = fixture.cursors() + 4096 + fixture.layout.callbackBytes
    replies.storeBytes(of: length, as: UInt32.self)
    bh_store_release(fixture.cursors() + BH_REPLIES_TAIL, 16)
    if length <= 12 {
      #expect(try front.nextReply()?.count == Int(length))
    } else {
      #expect(throws: RingError.badLength) { try front.nextReply() }
    }
  }

  @Test(arguments: 0..<32) func randomSharedMemoryNeverTraps(_ seed: UInt64) {
    var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
    func random() -> UInt32 {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return UInt32(truncatingIfNeeded: state >> 16)
    }
    for _ in 0..<60 {
      let fixture = RingFixture()
      let front = fixture.front()
      let worker = fixture.worker()
      for _ in 0..<60 {
        let word = Int(random() % UInt32(fixture.layout.totalBytes / 4)) * 4
        let value = random() % 3 == 0 ? random() : Self.nasty[Int(random()) % Self.nasty.count]
        (fixture.memory + word).storeBytes(of: value, as: UInt32.self)
        (fixture.cursors() + Int(random() % 7) * Int(BH_CACHE_LINE)).storeBytes(of: value, as: UInt32.self)
        _ = try? [UInt8](repeating: 1, count: Int(random() % 600)).send(front)
        _ = try? [UInt8](repeating: 1, count: Int(random() % 600)).reply(worker)
        for _ in 0..<8 { _ = try? front.nextReply() }
        for _ in 0..<8 { if (try? worker.nextCallback()) != nil { worker.finish(loop: 0) } }
        _ = try? front.isDealtWith(random())
        _ = front.status
        _ = front.hasReply
      }
    }
  }

  @Test(.timeLimit(.minutes(1))) func aPeerThatFlipsItsCursorsAllTheTimeCannotHoldTheFrontUp() throws {
    let fixture = RingFixture()
    let stop = fixture.memory + 512
    let thread = TestThread {
      var value: UInt32 = 1
      while bh_load_relaxed(stop) == 0 {
        value = value &* 1_664_525 &+ 1_013_904_223
        for offset in [BH_CALLBACKS_HEAD, BH_REPLIES_TAIL] { bh_store_release(fixture.cursors() + offset, value) }
        bh_store_release(fixture.memory, 1)
      }
    }
    while bh_load_relaxed(fixture.cursors() + BH_REPLIES_TAIL) == 0 { bh_cpu_relax() }
    // Each attempt ends, with a record or with an error; a broken ring is let go of, as the front does.
    var refused = 0
    var slowest: UInt64 = 0
    for _ in 0..<2_000 {
      let front = fixture.front()
      let begun = bh_monotonic_ns()
      do {
        for _ in 0..<4 { guard try front.nextReply() != nil else { break } }
        _ = try [1, 2, 3].send(front)
      } catch {
        refused += 1
      }
      slowest = max(slowest, bh_monotonic_ns() &- begun)
    }
    bh_store_release(stop, 1)
    thread.join()
    #expect(refused > 1_000, "nearly every cursor is one that cannot be")
    // Five calls that copy a record of at most a page: microseconds, and on a machine that is busy the time of others.
    #expect(slowest < 5_000_000_000)
  }
}
