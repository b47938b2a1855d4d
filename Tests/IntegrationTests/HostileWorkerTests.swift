import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// A worker that has been taken over does what it can, while another plugin's route is under load.
@Suite struct HostileWorkerTests {
  struct Row: CustomTestStringConvertible, Sendable {
    var act: String
    /// As what its ends may be counted.
    var reasons: [ExitReason]
    /// What its requests are answered: an answer that came before the breach counts.
    var answers: Set<Int> = [503]
    /// Whether it takes a request to set it off.
    var isProvoked = true
    var testDescription: String { act }

    init(_ act: String, _ reasons: ExitReason..., isProvoked: Bool = true, answers: Set<Int> = [503]) {
      self.act = act
      self.answers = answers
      self.reasons = reasons
      self.isProvoked = isProvoked
    }
  }

  static let rows = [
    Row("garbage", .protocolViolation), Row("reply-cursor", .protocolViolation),
    Row("callback-cursor", .protocolViolation, .deadline), Row("scribble", .protocolViolation),
    Row("noise", .protocolViolation), Row("twice", .protocolViolation, answers: [200, 503]),
    Row("wrong-sequence", .protocolViolation),
    Row("foreign-stream", .protocolViolation), Row("foreign-action", .protocolViolation, .deadline),
    Row("many-edits", .protocolViolation), Row("large-edit", .protocolViolation),
    Row("unheld-body", .protocolViolation), Row("reply-flood", .protocolViolation, .deadline, answers: [200, 503]),
    Row("root-flood", .protocolViolation, isProvoked: false),
    Row("stray-flood", .protocolViolation, isProvoked: false), Row("edit-flood", .protocolViolation, .deadline),
    Row("doorbell-flood", .protocolViolation, isProvoked: false),
    Row("hostcall-flood", .protocolViolation, isProvoked: false),
    Row("hostcall-batch", .protocolViolation, isProvoked: false),
    Row("log-flood", .protocolViolation, isProvoked: false),
    Row("frame-flood", .protocolViolation, isProvoked: false),
    Row("stderr-flood", .protocolViolation, isProvoked: false),
    Row("report-garbage", .protocolViolation, isProvoked: false),
    Row("unsealed", .protocolViolation, isProvoked: false),
    Row("desert", .protocolViolation, isProvoked: false), Row("hang", .deadline), Row("hang-idle", .deadline),
    Row("hang-other", .deadline), Row("hang-future", .deadline),
    Row("hold-ring", .deadline), Row("late", .deadline),
  ]

  /// What requests that do not meet the hostile plugin may take, in seconds. The bounds are for a slow machine that runs
  /// other tests meanwhile: whoever waited for a worker that hangs would take the ten seconds of his own plugin's deadline.
  static let latencyBounds = (median: 0.1, longest: 5.0)
  /// A worker may make a million edits before it has to answer something. They take a front without optimisation some 13
  /// seconds, in which it gets to its other requests seldom.
  static let latencyBesideEdits = (median: 0.25, longest: 40.0)

  private func expectPrompt(_ load: Load, beside act: String) {
    let latency = load.latency
    let bounds = act == "edit-flood" ? Self.latencyBesideEdits : Self.latencyBounds
    #expect(latency.median < bounds.median, "seconds for the usual request of the other plugin")
    #expect(latency.longest < bounds.longest, "seconds for the slowest request of the other plugin")
  }

  /// What one hostile plugin may make the front grow by: its channel's memory, and what the loops keep for its replies.
  static let memoryBound = 64 << 20

  @Test(arguments: rows) func aHostileWorkerIsKilledAndCountedAndHurtsNobodyElse(_ row: Row) throws {
    let hostile = try HostileWorker(row.act)
    defer { hostile.remove() }
    let bulkhead = hostile.bulkhead
    let front = try bulkhead.status().front.pid
    let before = try hostile.frontMemory()
    let load = Load(port: bulkhead.port, connections: 4) { answer in
      answer.status == 200 && answer.header("x-bench-response") != nil ? nil : "\(answer)"
    }
    try bulkhead.wait("it is killed again and again, and counted") {
      if row.isProvoked, let answer = hostile.provoke() {
        #expect(row.answers.contains(answer.status), "\(answer)")
        #expect(answer.status == 200 || answer.text.contains("hostile"), "\(answer)")
      }
      return try bulkhead.plugin("hostile").restarts >= 3
    }
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
    #expect(counts[200, default: 0] > 0)
    expectPrompt(load, beside: row.act)
    let exit = try bulkhead.plugin("hostile").lastExit
    #expect(exit.map { row.reasons.contains($0.reason) } == true, "\(String(describing: exit))")
    #expect(try bulkhead.status().front.pid == front, "the front lives")
    #expect(try bulkhead.plugin("stamp").restarts == 0)
    let grown = try hostile.frontMemory() - before
    #expect(grown < Self.memoryBound, "the front has grown by \(grown >> 10) KiB")
    #expect(bulkhead.logText.count < 4 << 20, "what it says is bounded too")
  }

  /// What it claims to have died of is learned, told to all event loops and to the supervisor, and matched with requests.
  @Test func aWorkerThatClaimsDeathsWithoutEndIsKilledAndItsLaneToo() throws {
    let hostile = try HostileWorker("death-flood", eventLoops: 2, hasLane: true)
    defer { hostile.remove() }
    let bulkhead = hostile.bulkhead
    let front = try bulkhead.status().front.pid
    let load = Load(port: bulkhead.port, connections: 4) { answer in
      answer.status == 200 && answer.header("x-bench-response") != nil ? nil : "\(answer)"
    }
    defer { _ = load.finish() }
    try bulkhead.wait("it is killed again and again") {
      _ = hostile.provoke()
      let lines = try bulkhead.control("GET", ControlPaths.metrics).text.split(separator: "\n")
      // It floods, and it does not come to an end with the stream: either is found first.
      let ends = [ExitReason.protocolViolation, .deadline].reduce(0) { sum, reason in
        let name = "bulkhead_exits_total{plugin=\"hostile\",reason=\"\(reason.rawValue)\"} "
        return sum + (lines.first { $0.hasPrefix(name) }.flatMap { Int($0.dropFirst(name.count)) } ?? 0)
      }
      return ends >= 10
    }
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
    expectPrompt(load, beside: "death-flood")
    #expect(try bulkhead.status().front.pid == front, "the front lives")
    #expect(try bulkhead.plugin("stamp").restarts == 0)
    let suspects = try bulkhead.decode(SuspectsResponse.self, ControlPaths.suspects(plugin: "hostile"))
    #expect(!suspects.suspects.isEmpty && suspects.suspects.count <= 3, "\(suspects)")
    #expect(try bulkhead.decode(SuspectsResponse.self, ControlPaths.suspects(plugin: "stamp")).suspects.isEmpty)
  }

  /// Each side of a doorbell is an open file of its own.
  @Test func aWorkerCannotTakeItsRingsBackNorHaveTheFrontWaitForThem() throws {
    let hostile = try HostileWorker("steal-rings")
    defer { hostile.remove() }
    let bulkhead = hostile.bulkhead
    let load = Load(port: bulkhead.port, connections: 4) { answer in
      answer.status == 200 && answer.header("x-bench-response") != nil ? nil : "\(answer)"
    }
    try bulkhead.wait("it has tried") { bulkhead.logText.contains(" of 40 rings") }
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
    expectPrompt(load, beside: "steal-rings")
    #expect(bulkhead.logText.contains("took back 0 of 40 rings"))
    let worker = try #require(try bulkhead.workers().first { $0.plugin == "hostile" })
    let front = try #require(try bulkhead.status().front.pid)
    func end(_ pid: Int32, _ number: String) -> (file: String, flags: String) {
      let info = (try? String(contentsOfFile: "/proc/\(pid)/fdinfo/\(number)", encoding: .utf8)) ?? ""
      let flags = info.split(separator: "\n").first { $0.hasPrefix("flags:") }?.split(whereSeparator: \.isWhitespace)
        .last
      return (
        (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(pid)/fd/\(number)")) ?? "",
        String(flags ?? "")
      )
    }
    let bell = end(worker.pid, "9")
    #expect(bell.file.hasPrefix("pipe:"))
    #expect(bell.flags.hasSuffix("1"), "for writing alone: \(bell.flags)")
    let ends = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(front)/fd").map { end(front, $0) }
      .filter { $0.file == bell.file }
    #expect(ends.count == 1 && ends.allSatisfy { $0.flags.hasSuffix("0") }, "for reading alone: \(ends)")
  }

  /// Questions that an honest worker may ask too, words without end, and edits that are refused: the front is not hurt.
  @Test(arguments: ["hostcall-chain", "shared-flood", "smuggle", "talk"])
  func whatAnHonestWorkerMayDoTooIsBounded(_ act: String) throws {
    let hostile = try HostileWorker(act)
    defer { hostile.remove() }
    let bulkhead = hostile.bulkhead
    let before = try hostile.frontMemory()
    let held = try bulkhead.connection()
    if act == "talk" { try held.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody") }
    let load = Load(port: bulkhead.port, connections: 4) { answer in
      answer.status == 200 && answer.header("x-bench-response") != nil ? nil : "\(answer)"
    }
    try bulkhead.wait("the load has gone through beside it") {
      if act == "smuggle" { #expect(hostile.provoke()?.text.contains("\nx-smuggled") != true) }
      return load.total > 3_000
    }
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
    expectPrompt(load, beside: act)
    let grown = try hostile.frontMemory() - before
    #expect(grown < Self.memoryBound, "the front has grown by \(grown >> 10) KiB")
    #expect(try bulkhead.plugin("stamp").restarts == 0)
  }
}
