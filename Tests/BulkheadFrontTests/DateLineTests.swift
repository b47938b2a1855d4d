import Testing

@testable import BulkheadChain
@testable import BulkheadFront

@Suite struct DateLineTests {
  @Test(
    arguments: [
      (0, "Thu, 01 Jan 1970 00:00:00 GMT"), (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
      (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"), (951_868_799, "Tue, 29 Feb 2000 23:59:59 GMT"),
      (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"), (1_709_210_096, "Thu, 29 Feb 2024 12:34:56 GMT"),
      (1_767_225_599, "Wed, 31 Dec 2025 23:59:59 GMT"), (1_767_225_600, "Thu, 01 Jan 2026 00:00:00 GMT"),
      (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
    ] as [(UInt64, String)])
  func aMomentIsWrittenAsHTTPHasIt(seconds: UInt64, text: String) {
    var line = DateLine()
    line.update(seconds * 1_000_000_000 + 999_999_999)
    #expect(String(decoding: line.bytes, as: UTF8.self) == "date: \(text)\r\n")
  }

  @Test func everyMomentThatAClockCanSayHasALine() {
    var line = DateLine()
    for nanoseconds: UInt64 in [.max, .max / 2, 1, 0] {
      line.update(nanoseconds)
      #expect(line.bytes.count == 37)
    }
  }
}
