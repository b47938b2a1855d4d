import BulkheadControl
import BulkheadCore
import Foundation
import Testing

@testable import BulkheadCLI

@Suite struct EventFilterTests {
  private static let now = Timestamp(milliseconds: 1_769_860_800_000)

  @Test(arguments: [
    ("10m", Int64(600_000)), ("90s", 90_000), ("2h", 7_200_000), ("1d", 86_400_000), ("0s", 0), ("5ms", 5),
    ("2026-01-31T11:59:00Z", 60_000), ("2026-01-31T12:00:00.000Z", 0),
  ])
  func aTimeIsSaidInTwoWays(text: String, ago: Int64) throws {
    #expect(try EventFilter.since(text, now: Self.now).milliseconds == Self.now.milliseconds - ago)
  }

  @Test(arguments: [
    "", "10", "m", "-1m", "1.5h", "10 m", "1w", "99999999999999999999h", "9223372036854775807d", "yesterday",
    "2026-01-31",
  ])
  func whatIsNoTimeIsRefused(text: String) {
    let error = #expect(throws: EventFilter.Malformed.self) { try EventFilter.since(text, now: Self.now) }
    #expect(error?.message.contains("not '\(text)'") == true)
  }

  @Test func kindsAreNamed() throws {
    #expect(try EventFilter.kinds("worker_crashed") == [.workerCrashed])
    #expect(try EventFilter.kinds("restart,reset") == [.restart, .reset])
    let error = #expect(throws: EventFilter.Malformed.self) { try EventFilter.kinds("reset,worker_crash") }
    #expect(error?.message.contains("did you mean 'worker_crashed'?") == true)
    for text in ["", ",", "reset,", "RESET"] {
      #expect(throws: EventFilter.Malformed.self) { try EventFilter.kinds(text) }
    }
  }

  @Test func allThatIsAskedForHasToHold() {
    func event(_ kind: EventInfo.Kind, _ plugin: String? = nil, _ at: Int64 = 0) -> EventInfo {
      EventInfo(at: Timestamp(milliseconds: at), kind: kind, plugin: plugin, message: "")
    }
    let filter = EventFilter(since: Timestamp(milliseconds: 5), kinds: [.reset], plugin: "a")
    #expect(filter.takes(event(.reset, "a", 5)))
    #expect(!filter.takes(event(.reset, "a", 4)))
    #expect(!filter.takes(event(.restart, "a", 5)))
    #expect(!filter.takes(event(.reset, "b", 5)) && !filter.takes(event(.reset, nil, 5)))
    #expect(EventFilter().takes(event(.started)))
  }

  @Test func theFileIsReadWithTheOneBeforeItAndWithoutHalfLines() throws {
    let path = NSTemporaryDirectory() + "bh-events-\(UUID().uuidString)"
    defer { for file in [path, path + ".1"] { try? FileManager.default.removeItem(atPath: file) } }
    #expect(throws: ControlFailure.self) { try EventLogReader.read(path) }
    func line(_ sequence: UInt64) throws -> String {
      let event = EventInfo(sequence: sequence, at: Self.now, kind: .reset, message: "m")
      return String(decoding: try ControlJSON.encode(event), as: UTF8.self) + "\n"
    }
    try (try line(3) + line(4).dropLast(20) + "\n" + line(5)).write(toFile: path, atomically: true, encoding: .utf8)
    #expect(try EventLogReader.read(path).events.map(\.sequence) == [3, 5])
    #expect(try EventLogReader.read(path).skipped == 1)
    try (try line(1) + line(2)).write(toFile: path + ".1", atomically: true, encoding: .utf8)
    #expect(try EventLogReader.read(path).events.map(\.sequence) == [1, 2, 3, 5])
  }

  @Test func whoAskedStandsWithTheEvent() throws {
    var event = EventInfo(sequence: 1, at: Self.now, kind: .reset, plugin: "geo", message: "forgiven")
    event.by = .init(uid: 1_000, pid: 42)
    let view = View(now: Self.now, coloured: false, format: .table)
    #expect(
      try view.show([event])
        == "2026-01-31T12:00:00.000Z reset geo: forgiven; asked for by uid 1000, pid 42")
  }
}
