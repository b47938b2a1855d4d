import BulkheadControl
import Testing

@testable import BulkheadSupervisor

@Suite struct EventRingTests {
  private func event(_ message: String, plugin: String? = nil) -> EventInfo {
    EventInfo(at: Timestamp(milliseconds: 0), kind: .backoff, plugin: plugin, message: message)
  }

  @Test func eventsAreNumberedWithoutAGap() {
    var ring = EventRing()
    #expect(ring.after(0, limit: 10).events.isEmpty)
    for number in 1...3 { #expect(ring.append(event("\(number)")) == UInt64(number)) }
    #expect(ring.after(0, limit: 10).events.map(\.message) == ["1", "2", "3"])
    #expect(ring.after(1, limit: 1).events.map(\.sequence) == [2])
    #expect(ring.after(3, limit: 10).events.isEmpty)
    #expect(ring.after(.max, limit: 10).events.isEmpty)
    #expect(ring.after(0, limit: 0).events.isEmpty)
    #expect(ring.after(0, limit: -1).events.isEmpty)
  }

  @Test func anotherRingGoesOnWhereOneWas() {
    var ring = EventRing()
    for number in 1...EventRing.maximumEvents + 9 { ring.append(event("\(number)")) }
    var next = EventRing(after: Array(ring.all), last: ring.last)
    #expect(next.last == ring.last)
    #expect(next.all == ring.all)
    #expect(next.append(event("new")) == ring.last + 1)
    #expect(next.after(ring.last, limit: 10).missed == 0)
    // A gap is as it was; what comes before one that is out of order is left out.
    var gap = Array(ring.all)
    gap.remove(at: gap.count - 3)
    let withGap = EventRing(after: gap, last: ring.last)
    #expect(withGap.all == gap[...])
    #expect(withGap.last == ring.last)
    var turned = Array(ring.all)
    turned.swapAt(turned.count - 4, turned.count - 3)
    #expect(EventRing(after: turned, last: ring.last).all.map(\.message) == turned.suffix(3).map(\.message))
    var empty = EventRing(after: [event("of no number")], last: 70)
    #expect(empty.append(event("new")) == 71)
    #expect(EventRing(after: gap, last: .max).last == 0)
  }

  @Test func theOldestGoBeyondTheBound() {
    var ring = EventRing()
    let count = EventRing.maximumEvents * 3 + 5
    for number in 1...count {
      ring.append(event("\(number)"))
      #expect(ring.count <= EventRing.maximumEvents)
    }
    let (events, missed) = ring.after(2, limit: 5_000)
    #expect(events.count == EventRing.maximumEvents)
    #expect(events.last?.sequence == UInt64(count))
    #expect(missed == UInt64(count - EventRing.maximumEvents - 2))
    #expect(events.enumerated().allSatisfy { $1.sequence == (events.first?.sequence ?? 0) + UInt64($0) })
    // What is kept follows without a gap.
    #expect(ring.after(UInt64(count) - 1, limit: 10).missed == 0)
  }

  @Test func aPluginWithoutEndLeavesRoomForTheOthers() {
    var ring = EventRing()
    for number in 1...3 { ring.append(event("\(number)", plugin: "quiet")) }
    ring.append(event("4"))
    for number in 5...5_000 { ring.append(event("\(number)", plugin: "loud")) }
    for number in 1...700 { ring.append(event("other \(number)", plugin: "p\(number)")) }
    let all = ring.after(0, limit: 5_000)
    #expect(all.events.count == EventRing.maximumEvents)
    #expect(all.events.prefix(4).map(\.message) == ["1", "2", "3", "4"])
    #expect(all.events.count { $0.plugin == "loud" } == EventRing.maximumEvents - 704)
    #expect(all.missed == 5_700 - UInt64(EventRing.maximumEvents))
    // The numbers stay, and who reads on from any of them finds what comes behind it.
    let loud = all.events.first { $0.plugin == "loud" }
    #expect(loud?.sequence == 5_000 - UInt64(EventRing.maximumEvents - 704) + 1)
    for after in [0, 3, 4, 5, 2_000, 4_679, 4_680, 5_699, 5_700] as [UInt64] {
      let rest = ring.after(after, limit: 5_000)
      #expect(rest.events.map(\.sequence) == all.events.map(\.sequence).filter { $0 > after })
      #expect(rest.missed + UInt64(rest.events.count) == 5_700 - after)
    }
    ring.amend(2) { $0.message = "amended" }
    ring.amend(100) { $0.message = "gone" }
    #expect(ring.after(0, limit: 4).events.map(\.message) == ["1", "amended", "3", "4"])
  }

  @Test func withoutNeedNothingGoesWhoeverItIsAbout() {
    var ring = EventRing()
    for number in 1...EventRing.maximumEvents { ring.append(event("\(number)", plugin: "loud")) }
    #expect(ring.count == EventRing.maximumEvents)
    #expect(ring.after(0, limit: 5_000).missed == 0)
  }

  @Test func largeEventsAreBoundedInBytes() {
    var ring = EventRing()
    let long = String(repeating: "x", count: 100_000)
    for _ in 0..<2_000 {
      var crash = CrashInfo(reason: .trap, status: "", uptimeSeconds: 0)
      crash.backtrace = Array(repeating: String(long.prefix(500)), count: 64)
      var info = event(long)
      info.crash = crash
      ring.append(info)
    }
    #expect(ring.count < 40)
    #expect(ring.count > 20)
    #expect(ring.after(0, limit: 1).events.first.map { $0.message.utf8.count <= EventRing.longestMessage + 3 } == true)
  }

  @Test func aLongTextOfLargeCharactersIsCutToItsBytes() {
    var ring = EventRing()
    ring.append(event("x" + String(repeating: "\u{301}", count: 10_000)))
    ring.append(event(String(repeating: "\u{1F600}", count: 2_000)))
    for event in ring.after(0, limit: 2).events {
      #expect((EventRing.longestMessage...EventRing.longestMessage + 6).contains(event.message.utf8.count))
    }
  }

  /// Nothing that a plugin's words went into is kept longer than it is shown.
  @Test func whatIsGoneIsNotKept() {
    var ring = EventRing()
    for _ in 0..<100 {
      var info = event("")
      info.crash = CrashInfo(reason: .trap, status: "", uptimeSeconds: 0)
      info.crash?.backtrace = Array(repeating: String(repeating: "x", count: 1_000), count: 64)
      ring.append(info)
    }
    var held = 0
    for child in Mirror(reflecting: ring).children {
      held += (child.value as? [EventInfo] ?? []).count { $0.crash != nil }
    }
    #expect(held == ring.count && held < 20)
  }

  @Test func oneThatIsKeptCanBeAmendedAndKeepsItsNumber() {
    var ring = EventRing()
    ring.append(event("a"))
    ring.append(event("b", plugin: "geo"))
    ring.amend(2) {
      $0.message = "c"
      $0.sequence = 77
    }
    #expect(ring.after(0, limit: 10).events.map(\.message) == ["a", "c"])
    #expect(ring.after(1, limit: 10).events.map(\.sequence) == [2])
    for sequence in [0, 3, UInt64.max] { ring.amend(sequence) { $0.message = "x" } }
    #expect(ring.after(0, limit: 10).events.map(\.message) == ["a", "c"])
    #expect(ring.has(plugin: "geo"))
    #expect(!ring.has(plugin: "other"))
  }
}
