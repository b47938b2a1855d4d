import BulkheadControl
import BulkheadCore
import Foundation
import Testing

@testable import BulkheadSupervisor

/// 2026-01-02T03:04:05.678Z.
private let moment = Timestamp(milliseconds: 1_767_323_045_678)

@Test func aLineOfTextHasTimeLevelFieldsAndMessageInThatOrder() {
  let line = LogLine(
    at: moment, level: .warn, process: "worker", plugin: "geo", pid: 123, source: .guest, request: "abc", stream: 7,
    callback: "proxy_on_tick", microseconds: 3_014, message: "message")
  #expect(
    line.formatted(.text)
      == "2026-01-02T03:04:05.678Z warn process=worker plugin=geo pid=123 source=guest request=abc stream=7 "
      + "callback=proxy_on_tick duration=3.014ms message")
}

@Test func fieldsThatAreNotThereAreLeftOut() {
  let line = LogLine(at: moment, level: .info, process: "supervisor", message: "listening")
  #expect(line.formatted(.text) == "2026-01-02T03:04:05.678Z info process=supervisor listening")
  #expect(
    line.formatted(.json)
      == #"{"time":"2026-01-02T03:04:05.678Z","level":"info","process":"supervisor","message":"listening"}"#)
}

@Test(arguments: [
  ("two\nlines", "two\\nlines"),
  ("carriage\rreturn\ttab", "carriage\\rreturn\\ttab"),
  ("\u{1b}[31mred", "\\u{1b}[31mred"),
  ("c1 \u{9b}31m", "c1 \\u{9b}31m"),
  ("separator\u{2028}end", "separator\\u{2028}end"),
  ("nul\0", "nul\\u{0}"),
  ("reversed \u{202e}txt", "reversed \\u{202e}txt"),
  ("quotes \" and \\ stay", "quotes \" and \\ stay"),
  ("ümläut 🦀", "ümläut 🦀"),
  ("process=front forged", "\"process=front forged\""),
  ("stream=\"x\"", "\"stream=\\\"x\\\"\""),
  ("source=guest forged", "\"source=guest forged\""),
  ("\"quoted", "\"\\\"quoted\""),
  ("hidden\u{200b}\u{feff}\u{e0041}", "hidden\\u{200b}\\u{feff}\\u{e0041}"),
])
func aMessageStaysOneLineThatSpeaksToNoTerminal(message: String, written: String) {
  let line = LogLine(at: moment, level: .info, process: "worker", message: message)
  #expect(line.formatted(.text) == "2026-01-02T03:04:05.678Z info process=worker \(written)")
}

@Test(arguments: [
  ("plain-1.2_3:4/5@6+7", "plain-1.2_3:4/5@6+7"),
  ("with blank", "\"with blank\""),
  ("", "\"\""),
  ("a\" b=\"c", "\"a\\\" b=\\\"c\""),
  ("line\nbreak", "\"line\\nbreak\""),
])
func aFieldsValueCannotPassForAnotherField(request: String, written: String) {
  let line = LogLine(at: moment, level: .info, process: "front", request: request, message: "m")
  #expect(line.formatted(.text).hasSuffix(" request=\(written) m"))
}

/// A plugin that writes what Bulkhead writes of a crash.
@Test(arguments: LogFormat.allCases.filter { $0 != .plain }) func aPluginCannotPassForBulkhead(_ format: LogFormat) {
  let forged = "x\n\(moment) error process=worker plugin=geo pid=1 ended (trap): unreachable\u{1b}[2K\r"
  let guest = LogLine(
    at: moment, level: .error, process: "worker", plugin: "geo", pid: 1, source: .guest, message: forged)
  let text = guest.formatted(format)
  #expect(!text.contains { $0.isNewline || $0 == "\u{1b}" })
  #expect(text.contains(format == .json ? #""source":"guest""# : " pid=1 source=guest x"))
}

private let crash = LogLine(
  at: moment, level: .error, process: "worker", plugin: "crashy", pid: 9, request: "r-1", stream: 5,
  callback: "proxy_on_request_headers", microseconds: 412, message: "ended (trap): unreachable",
  backtrace: ["0: check at 0x3a7", "1: on\nheaders"])

@Test func aCrashIsOneRecordWithItsFrames() throws {
  let json = crash.formatted(.json)
  #expect(!json.contains("\n"))
  let object = try #require(try JSONSerialization.jsonObject(with: Data(json.utf8)) as? [String: Any])
  #expect(object["backtrace"] as? [String] == crash.backtrace)
  #expect(object["request"] as? String == "r-1")
  #expect(object["stream"] as? Int == 5)
  #expect(object["callback"] as? String == "proxy_on_request_headers")
  #expect(object["duration_us"] as? Int == 412)
  #expect(
    crash.formatted(.journald)
      == "<3>error process=worker plugin=crashy pid=9 request=r-1 stream=5 callback=proxy_on_request_headers "
      + "duration=0.412ms ended (trap): unreachable backtrace=\"0: check at 0x3a7; 1: on\\nheaders\"")
  #expect(
    crash.formatted(.text).split(separator: "\n").map { $0.dropFirst(25) } == [
      "error process=worker plugin=crashy pid=9 request=r-1 stream=5 callback=proxy_on_request_headers duration=0.412ms "
        + "ended (trap): unreachable",
      "error process=worker plugin=crashy pid=9   0: check at 0x3a7",
      "error process=worker plugin=crashy pid=9   1: on\\nheaders",
    ])
}

@Test(arguments: [
  "plain", "\"quoted\" \\ back", "\n\r\t\0\u{1b}\u{7f}\u{9b}", "ümläut 🦀 \u{2028}\u{2029}\u{202e}\u{e0041}",
])
func aLineOfJSONReadsBackAsWhatItWas(text: String) throws {
  let line = LogLine(
    at: moment, level: .error, process: "worker", plugin: text, pid: 7, request: text, message: text
  ).formatted(.json)
  #expect(!line.contains("\n"))
  let object = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any])
  #expect(object["plugin"] as? String == text)
  #expect(object["request"] as? String == text)
  #expect(object["message"] as? String == text)
  #expect(object["pid"] as? Int == 7)
  #expect(object["level"] as? String == "error")
}

@Test func bytesOfStandardErrorAreCutIntoLines() {
  var assembler = LineAssembler()
  var lines: [String] = []
  assembler.append(Array("first\nsec".utf8)) { lines.append($0) }
  assembler.append(Array("ond\r\n\n\nthird".utf8)) { lines.append($0) }
  #expect(lines == ["first", "second"])
  assembler.flush { lines.append($0) }
  #expect(lines == ["first", "second", "third"])
}

@Test func aLineWithoutEndIsCutAndTheNextOneIsWhole() {
  var assembler = LineAssembler()
  var lines: [String] = []
  assembler.append([UInt8](repeating: 0x61, count: 100_000) + Array("\nnext\n".utf8)) { lines.append($0) }
  #expect(lines == [String(repeating: "a", count: 4_096) + " [cut: 95904 of 100000 bytes are missing]", "next"])
}

@Test func bytesThatAreNotTextAreRepaired() {
  var assembler = LineAssembler()
  var lines: [String] = []
  assembler.append([0xFF, 0xFE, 0x41, 0x0A]) { lines.append($0) }
  #expect(lines == ["\u{FFFD}\u{FFFD}A"])
}

@Test func linesOverTheRateAreCountedAndComeBackWithTime() {
  var limiter = LineLimiter(perSecond: 10, burst: 20)
  let passed = (0..<50).count { _ in limiter.take(at: .seconds(1)) }
  #expect(passed == 20)
  let dropped = [limiter.takeDropped(), limiter.takeDropped()]
  #expect(dropped == [30, 0])
  let later = (0..<50).count { _ in limiter.take(at: .milliseconds(1_500)) }
  #expect(later == 5)
  // A clock that goes back gives nothing.
  let back = limiter.take(at: .zero)
  #expect(!back)
  let rested = (0..<50).count { _ in limiter.take(at: .seconds(100)) }
  #expect(rested == 20)
}

@Test func aChargeOverTheRateLeavesADebtThatTimePays() {
  var limiter = LineLimiter(perSecond: 100, burst: 100)
  let debts = [
    limiter.charge(100, at: .zero), limiter.charge(50, at: .zero), limiter.charge(0, at: .milliseconds(500)),
  ]
  #expect(debts == [false, true, false])
}
