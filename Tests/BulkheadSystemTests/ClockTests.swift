import BulkheadSystem
import Glibc
import Testing

@Suite struct ClockTests {
  @Test func theProcessorTimeOfAProcessGrowsWithItsWork() throws {
    let before = try #require(Clock.processorNanoseconds(of: getpid()))
    var sum: UInt64 = 1
    while try #require(Clock.processorNanoseconds(of: getpid())) < before + 2_000_000 { sum = sum &* 3 &+ 1 }
    #expect(sum != 0)
  }

  @Test(arguments: [0, -1, .min, .max] as [Int32]) func whatIsNoProcessHasNone(pid: Int32) {
    #expect(Clock.processorNanoseconds(of: pid) == nil)
  }
}
