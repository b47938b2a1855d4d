import Glibc
import Testing

@testable import BulkheadSystem

@Suite struct ProcessUsageTests {
  private static func stat(_ name: String) -> ArraySlice<UInt8> {
    Array(
      "7 (\(name)) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 3 0 1000 10000000 512 18446744073709551615 1\n".utf8)[
        ...]
  }

  @Test(arguments: ["a", "a b", ") S 1 2 3 (", "))", "\u{1}"]) func theNameMayHoldAnything(name: String) throws {
    let usage = try #require(ProcessUsage(stat: Self.stat(name), ticksPerSecond: 100, pageBytes: 4_096))
    #expect(usage.processorSeconds == 3 && usage.residentBytes == 2 << 20)
  }

  @Test(arguments: ["", ")", "7 (a) S 1 2", "7 (a) S 1 7 7 0 -1 4194560 100 0 0 0 x 50 0 0 20 0 3 0 1000 1 512 1"])
  func whatIsNoSuchFileIsNothing(text: String) {
    #expect(ProcessUsage(stat: Array(text.utf8)[...], ticksPerSecond: 100, pageBytes: 4_096) == nil)
  }

  @Test func thisProcessUsesSomething() throws {
    #expect(try ProcessUsage(of: getpid()).residentBytes > 1 << 20)
    #expect(throws: SystemError.self) { try ProcessUsage(of: -1) }
  }
}
