import BulkheadControl
import BulkheadCore
import Testing

@testable import BulkheadSupervisor

@Suite struct CrashSignatureTests {
  private func signature(
    _ frames: [String], reason: ExitReason = .trap, callback: String? = "proxy_on_tick"
  ) -> CrashSignature {
    CrashSignature(reason: reason, callback: callback, backtrace: frames)
  }

  @Test(
    arguments: [
      ("0: check at 0x1f", "check"), ("12: a b::c<d> at 0xdeadbeef", "a b::c<d>"), ("0: check", "check"),
      ("0: at 0x at 0x1", "at 0x"), ("0: x at 0x", "x at 0x"), ("0: <function 7> at 0x0", "<function 7>"),
      ("0: ends in cafe", "ends in cafe"), ("... 3 frames more", nil), ("", nil), ("0: ", nil), ("x: f at 0x1", nil),
      ("0:f at 0x1", nil), (" 0: f", nil),
    ] as [(String, String?)])
  func aFrameIsTheNameOfItsFunction(_ line: String, _ name: String?) {
    #expect(signature([line]).frames == (name.map { [$0] } ?? []))
  }

  @Test func crashesThatDifferInAddressesAndOuterFramesAreOneKind() {
    let one = signature(["0: a at 0x1", "1: b at 0x2", "2: c at 0x3", "3: d at 0x4"])
    #expect(one == signature(["0: a at 0x9", "1: b at 0x8", "2: c at 0x7", "3: e at 0x4"]))
    #expect(one.frames == ["a", "b", "c"])
    let others = [
      signature(["0: a at 0x1", "1: b at 0x2", "2: x at 0x3"]), signature(["0: a at 0x1"]), signature([]),
      signature(["0: a at 0x1", "1: b at 0x2", "2: c at 0x3"], reason: .deadline),
      signature(["0: a at 0x1", "1: b at 0x2", "2: c at 0x3"], callback: nil),
    ]
    #expect(Set(others + [one]).count == 6)
  }

  @Test func whatModulesAndWorkersSayIsEscapedAndCut() {
    let hostile = signature(
      ["0: \u{1B}[2J\n\(String(repeating: "\u{301}", count: 5_000)) at 0x1"],
      callback: "unknown\u{7}" + String(repeating: "x", count: 500))
    for name in hostile.frames + [hostile.callback ?? ""] {
      #expect(name.utf8.count <= CrashSignature.maximumName + 6)
      #expect(!name.unicodeScalars.contains { $0.value < 0x20 })
    }
    #expect(!hostile.description.contains("\u{1B}"))
  }

  @Test func itReadsAsOneLine() {
    #expect(signature(["0: f at 0x1"]).description == "trap in proxy_on_tick at f")
    #expect(signature([], reason: .signal, callback: nil).description == "signal")
  }
}

@Suite struct CrashTableTests {
  static let time = Timestamp(milliseconds: 1_000)

  private static func crash(_ name: String, request: String? = nil, reason: ExitReason = .trap) -> CrashInfo {
    var crash = CrashInfo(reason: reason, status: "exited", uptimeSeconds: 1, backtrace: ["0: \(name) at 0x1"])
    crash.callback = "proxy_on_request_headers"
    crash.requestID = request
    return crash
  }

  private static func signature(_ name: String) -> CrashSignature {
    CrashSignature(reason: .trap, callback: "proxy_on_request_headers", backtrace: ["0: \(name)"])
  }

  @discardableResult
  private static func add(
    _ name: String, to table: inout CrashTable, at now: Duration, request: String? = nil
  ) -> CrashTable.Telling {
    table.crashed(crash(name, request: request), detail: "d", pid: 7, at: time, now: now)
  }

  @Test func aKindIsToldInFullThenBrieflyThenCountedAlone() {
    var table = CrashTable()
    let told = (0..<6).map { Self.add("f", to: &table, at: .seconds($0)) }
    #expect(told == [.withBacktrace, .briefly, .briefly, .counted, .counted, .counted])
    #expect(table.entries[Self.signature("f")]?.count == 6)
    #expect(table.counts == [.trap: 6])
    let another = Self.add("g", to: &table, at: .seconds(6))
    #expect(another == .withBacktrace, "another kind is news")
  }

  @Test func aKindThatWasQuietIsNewsAgain() {
    var table = CrashTable()
    for _ in 0..<9 { Self.add("f", to: &table, at: .zero) }
    let before = Self.add("f", to: &table, at: CrashTable.quietTime - .milliseconds(1))
    #expect(before == .counted)
    let after = Self.add("f", to: &table, at: CrashTable.quietTime * 2 - .milliseconds(1))
    #expect(after == .withBacktrace)
    #expect(table.entries[Self.signature("f")]?.count == 11)
  }

  @Test func summariesSayWhatWasCountedAndComeEverMoreSeldom() {
    var table = CrashTable()
    #expect(table.summaryDue == nil)
    // A crash every 10 ms for ten minutes.
    var (summaries, told): ([(at: Duration, summary: CrashTable.Summary)], UInt64) = ([], 0)
    for step in 0..<60_000 {
      let now = Duration.milliseconds(10 * step)
      if Self.add("f", to: &table, at: now) != .counted { told += 1 }
      if let due = table.summaryDue, due <= now, let summary = table.takeSummary(at: now) {
        summaries.append((now, summary))
      }
    }
    #expect(told == 3)
    #expect(summaries.map { $0.at.components.seconds } == [10, 30, 70, 150, 310])
    #expect(summaries.first?.summary.text == "1001 more of trap in proxy_on_request_headers at f in the last 10 s")
    let end = Duration.seconds(10_000)
    let last = table.takeSummary(at: end)
    let counted = summaries.reduce(last?.parts.first?.crashes ?? 0) { $0 + ($1.summary.parts.first?.crashes ?? 0) }
    #expect(counted + told == 60_000)
    // The storm is over: there is nothing to say, and the next one begins anew.
    let over = table.takeSummary(at: end + CrashTable.longestSummary)
    #expect(over == nil && table.summaryDue == nil)
    for _ in 0..<4 { Self.add("f", to: &table, at: .seconds(20_000)) }
    #expect(table.summaryDue == .seconds(20_000) + CrashTable.firstSummary)
  }

  @Test func aSummaryNamesTheMostFrequentKindsAndCountsTheOthers() {
    var table = CrashTable()
    for kind in 0..<6 { for _ in 0..<(10 + kind) { Self.add("f\(kind)", to: &table, at: .zero) } }
    let told = (0..<6).reduce(0) { sum, kind in
      sum + Int(table.entries[Self.signature("f\(kind)")]?.count ?? 0)
    }
    #expect(told == 75)
    let early = table.takeSummary(at: .seconds(9))
    #expect(early == nil)
    let summary = table.takeSummary(at: .seconds(10))
    #expect(summary?.parts.map(\.signature) == [5, 4, 3].map { Self.signature("f\($0)") })
    // Fifteen were told: three of each of the first five.
    #expect(summary.map { $0.parts.reduce($0.others) { $0 + $1.crashes } } == 60)
  }

  @Test func thoseSeenLongestAgoMakeRoomAndAreStillCounted() {
    var table = CrashTable()
    for kind in 0..<(CrashTable.maximumSignatures + 40) {
      for _ in 0..<5 { Self.add("f\(kind)", to: &table, at: .milliseconds(kind)) }
    }
    #expect(table.entries.count == CrashTable.maximumSignatures)
    #expect(table.evicted == 40)
    #expect(table.entries[Self.signature("f39")] == nil)
    #expect(table.entries[Self.signature("f40")]?.count == 5)
    let all = UInt64(CrashTable.maximumSignatures + 40) * 5
    #expect(table.counts == [.trap: all])
    let summary = table.takeSummary(at: .seconds(20))
    // Each was told at most thrice, and all together fifteen times.
    #expect(summary.map { $0.parts.reduce($0.others) { $0 + $1.crashes } } == all - 15)
  }

  @Test func theTextsAreBoundedInBytesToo() {
    var table = CrashTable()
    for kind in 0..<200 {
      var crash = Self.crash("f\(kind)")
      crash.backtrace += (1..<64).map { "\($0): \(String(repeating: "x", count: 200)) at 0x1" }
      _ = table.crashed(crash, detail: "", pid: nil, at: Self.time, now: .zero)
    }
    let bytes = table.entries.values.reduce(0) { $0 + $1.example.backtrace.reduce(0) { $0 + $1.utf8.count } }
    #expect(bytes < CrashTable.maximumBytes)
    #expect(table.entries.count > 20)
  }

  @Test func theExampleIsTheLastOneOfWhichTheRequestIsKnown() throws {
    var table = CrashTable()
    Self.add("f", to: &table, at: .zero, request: "one")
    Self.add("f", to: &table, at: .zero, request: "two")
    Self.add("f", to: &table, at: .zero)
    #expect(table.entries[Self.signature("f")]?.example.requestID == "two")
    Self.add("g", to: &table, at: .zero)
    table.amend(pid: 8) { $0.requestID = "of another process" }
    table.amend(pid: 7) { $0.requestID = "later" }
    #expect(table.entries[Self.signature("g")]?.example.requestID == "later")
    #expect(table.entries[Self.signature("f")]?.example.requestID == "two")
  }

  /// Whatever a plugin does, and however many kinds of crashes it finds.
  @Test(arguments: [1, 7, 40, 2_000]) func theLinesOfAStormAreBounded(_ kinds: Int) {
    var table = CrashTable()
    var lines: [Duration] = []
    // Ten thousand crashes in a minute, and more of them.
    for step in 0..<15_000 {
      let now = Duration.milliseconds(6 * step)
      func line() { if table.takesLine(at: now) { lines.append(now) } }
      let telling = Self.add("f\(step % kinds)", to: &table, at: now)
      if telling != .counted { for _ in 0..<(telling == .withBacktrace ? 33 : 1) { line() } }
      // The next worker waits, starts, and is ready.
      if table.tellsConsequences(at: now) { for _ in 0..<3 { line() } }
      if table.takesDecision(at: now) { lines.append(now) }
      if table.takeSummary(at: now) != nil { lines.append(now) }
    }
    #expect(table.counts == [.trap: 15_000])
    var most = 0
    for (index, time) in lines.enumerated() {
      most = max(most, lines[index...].prefix { $0 - time < .seconds(60) }.count)
    }
    // The front has a dozen lines of its own.
    #expect(most <= 85, "\(kinds) kinds")
  }

  @Test func whatFollowsFromACrashIsToldAsLongAsTheCrashIs() {
    var table = CrashTable()
    #expect(table.tellsConsequences(at: .zero))
    for _ in 0..<3 { Self.add("f", to: &table, at: .zero) }
    #expect(table.tellsConsequences(at: .zero))
    Self.add("f", to: &table, at: .zero)
    #expect(!table.tellsConsequences(at: .seconds(59)))
    #expect(table.tellsConsequences(at: .seconds(60)))
  }

  @Test func linesThatWereLeftOutAreSaidThoughNothingElseIs() {
    var table = CrashTable()
    Self.add("f", to: &table, at: .zero)
    for _ in 0..<50 { _ = table.takesLine(at: .zero) }
    let summary = table.takeSummary(at: .seconds(10))
    #expect(summary?.text == "10 lines of log left out in the last 10 s")
  }
}
