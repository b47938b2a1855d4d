import BulkheadCore
import Testing

@testable import BulkheadSupervisor

@Test func ofLastWordsTheGravestAreKept() {
  var words = LastWords()
  #expect(words.text == nil)
  words.add(.info, "reads")
  #expect(words.text == #""reads""#)
  words.add(.error, "no \"key\"\nPLUGIN=other")
  for _ in 0..<5 { words.add(.info, "later") }
  #expect(words.text == #""no \"key\"\nPLUGIN=other""#)
  words.add(.warn, String(repeating: "x", count: 1_000))
  #expect(words.text?.hasSuffix("x...\"") == true)
  #expect((words.text?.utf8.count ?? 0) < 500)
}

@Test func aGapThatAllWorkersHaveIsSaidOnceAndAgainWhenItIsAnother() {
  var ledger = GapLedger()
  let said = [("a", "cgroup"), ("b", "cgroup"), ("a", "cgroup"), ("b", nil), ("b", "cgroup"), ("b", "uid")].map {
    ledger.note($1, of: $0)
  }
  #expect(said == [true, false, false, false, false, true])
  let gone = [ledger.note(nil, of: "a"), ledger.note("cgroup", of: "a")]
  #expect(gone == [false, true])
  ledger.keep(["b"])
  let isNews = ledger.note("cgroup", of: "c")
  #expect(isNews)
}
