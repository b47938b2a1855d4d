/// The `date` field of messages as a line, made anew when a second has passed (RFC 9110, 6.6.1 and 5.6.7). A value that each
/// event loop keeps: responses cost a copy of it.
struct DateLine {
  /// `date: Sun, 06 Nov 1994 08:49:37 GMT` and the line's end.
  private(set) var bytes = Array("date: Thu, 01 Jan 1970 00:00:00 GMT\r\n".utf8)
  private var second: UInt64 = 0

  private static let days: StaticString = "ThuFriSatSunMonTueWed"
  private static let months: StaticString = "JanFebMarAprMayJunJulAugSepOctNovDec"

  /// - Parameter nanoseconds: since 1970-01-01 UTC.
  mutating func update(_ nanoseconds: UInt64) {
    let now = nanoseconds / 1_000_000_000
    guard now != second else { return }
    second = now
    let day = Int(now / 86_400)
    let time = Int(now % 86_400)
    // Days since 0000-03-01, in years that begin in March: the leap day is their last.
    let shifted = day + 719_468
    let era = shifted / 146_097
    let ofEra = shifted % 146_097
    let year = (ofEra - ofEra / 1_460 + ofEra / 36_524 - ofEra / 146_096) / 365
    let ofYear = ofEra - (365 * year + year / 4 - year / 100)
    let month = (5 * ofYear + 2) / 153
    let isNextYear = month >= 10
    put(Self.days, day % 7, at: 6)
    put(ofYear - (153 * month + 2) / 5 + 1, at: 11)
    put(Self.months, isNextYear ? month - 10 : month + 2, at: 14)
    let number = era * 400 + year + (isNextYear ? 1 : 0)
    put(number / 100 % 100, at: 18)
    put(number % 100, at: 20)
    put(time / 3_600, at: 23)
    put(time / 60 % 60, at: 26)
    put(time % 60, at: 29)
  }

  private mutating func put(_ names: StaticString, _ number: Int, at place: Int) {
    for index in 0..<3 { bytes[place + index] = names.utf8Start[number * 3 + index] }
  }

  private mutating func put(_ number: Int, at place: Int) {
    bytes[place] = UInt8(ascii: "0") + UInt8(number / 10)
    bytes[place + 1] = UInt8(ascii: "0") + UInt8(number % 10)
  }
}
