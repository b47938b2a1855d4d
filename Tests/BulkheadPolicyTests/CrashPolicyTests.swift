import BulkheadPolicy
import Testing

@Suite struct CrashPolicyTests {
  @Test(arguments: [
    (0, Duration.zero), (1, .milliseconds(50)), (2, .milliseconds(100)), (3, .milliseconds(200)),
    (8, .milliseconds(6_400)), (9, .seconds(10)), (10, .seconds(10)), (Int.max, .seconds(10)), (-1, .zero),
  ])
  func backoffDoublesUpToItsMaximum(_ number: Int, _ wait: Duration) {
    #expect(CrashPolicy.Backoff().wait(before: number) == wait)
  }

  @Test func aFactorOfOneWaitsTheSameEveryTime() {
    let backoff = CrashPolicy.Backoff(initial: .milliseconds(5), factor: 1, maximum: .seconds(1))
    #expect(backoff.wait(before: 1) == .milliseconds(5))
    #expect(backoff.wait(before: .max) == .milliseconds(5))
  }

  @Test func backoffThatMakesNoSenseStillHasAWait() {
    #expect(CrashPolicy.Backoff(initial: .zero, factor: 2, maximum: .seconds(1)).wait(before: 9) == .zero)
    #expect(CrashPolicy.Backoff(initial: .seconds(2), factor: 2, maximum: .seconds(1)).wait(before: 1) == .seconds(1))
    #expect(CrashPolicy.Backoff(initial: .seconds(2), factor: 0, maximum: .seconds(1)).wait(before: 1) == .zero)
  }
}
