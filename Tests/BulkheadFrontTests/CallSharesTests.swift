import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// How the places for calls out are shared among plugins: tables, and random sequences.
@Suite struct CallSharesTests {
  /// The value where `#expect` can change it.
  private final class Shares {
    var value: CallShares<Int>
    init(capacity: Int, members: Int) { value = CallShares(capacity: capacity, members: members) }

    func take(_ plugin: Int) -> Bool { value.take(plugin) }
    func next() -> Int? { value.next() }

    /// Takes all that the plugin can get.
    func fill(_ plugin: Int) -> Int {
      var count = 0
      while value.take(plugin) { count += 1 }
      return count
    }

    func wait(_ waiters: [Int], of plugin: Int) {
      for waiter in waiters { value.wait(waiter, of: plugin) }
    }
  }

  @Test(arguments: [
    // One plugin has all there is; of several the first has its part and the open half.
    (capacity: 1_024, members: 1, expected: [1_024]),
    (1_024, 2, [768, 256]),
    (1_024, 6, [599, 85, 85, 85, 85, 85]),
    (12, 6, [7, 1, 1, 1, 1, 1]),
    // As many places as plugins, and fewer.
    (4, 4, [1, 1, 1, 1]),
    (2, 4, [1, 1, 0, 0]),
    (0, 2, [0, 0]),
  ]) func whoeverTakesAllLeavesTheOthersTheirPart(capacity: Int, members: Int, expected: [Int]) {
    let shares = Shares(capacity: capacity, members: members)
    #expect(expected.indices.map { shares.fill($0) } == expected)
    #expect(shares.value.taken == expected.reduce(0, +))
  }

  @Test func thoseWhoWaitTakeTurns() {
    let shares = Shares(capacity: 3, members: 1)
    #expect(shares.fill(1) == 3)
    shares.wait([10, 11, 12], of: 1)
    shares.wait([20, 21], of: 2)
    #expect(shares.value.waiting == 5)
    #expect(shares.next() == nil)
    // A place of plugin 1 is free, and then another one: each goes to whom it is due.
    var order: [Int] = []
    for _ in 0..<5 {
      shares.value.release(order.count == 4 ? 2 : 1)
      while let next = shares.next() { order.append(next) }
    }
    #expect(order.sorted() == [10, 11, 12, 20, 21])
    #expect(order.prefix(4).contains(20), "plugin 2 had to wait for all of plugin 1: \(order)")
    #expect(shares.value.waiting == 0)
  }

  @Test func whoIsOverItsPartDoesNotHoldUpWhoIsBehindIt() {
    let shares = Shares(capacity: 8, members: 2)
    #expect(shares.fill(1) == 6)
    shares.wait([10], of: 1)
    shares.wait([20], of: 2)
    #expect(shares.next() == 20)
    #expect(shares.next() == nil)
    // What is put back is the first of its plugin.
    shares.value.release(2)
    shares.value.wait(20, of: 2, isNext: true)
    shares.wait([21], of: 2)
    #expect(shares.next() == 20)
  }

  @Test func whoWaitsNoLongerIsForgotten() {
    let shares = Shares(capacity: 1, members: 1)
    #expect(shares.take(1))
    shares.wait([10, 11, 12], of: 1)
    shares.value.forget(of: 1) { $0 == 11 }
    shares.value.forget(of: 1) { $0 == 99 }
    shares.value.forget(of: 2) { _ in true }
    #expect(shares.value.waiting == 2)
    shares.value.release(1)
    #expect(shares.next() == 10)
    shares.value.forget(of: 1) { $0 == 12 }
    shares.value.release(1)
    #expect(shares.value.waiting == 0 && shares.next() == nil && shares.value.taken == 0)
    // Giving back what nobody has changes nothing.
    shares.value.release(1)
    #expect(shares.value.taken == 0)
  }

  @Test(arguments: 0..<50) func inWhateverOrderTheyComeEachPluginHasItsPart(seed: UInt64) {
    var random = Seeded(state: seed &+ 1)
    let members = Int.random(in: 1...8, using: &random)
    let capacity = Int.random(in: members...64, using: &random)
    let shares = Shares(capacity: capacity, members: members)
    var held = [Int](repeating: 0, count: members)
    var waiting = [[Int]](repeating: [], count: members)
    for step in 0..<2_000 {
      let plugin = Int.random(in: 0..<members, using: &random)
      switch Int.random(in: 0..<4, using: &random) {
      case 0:
        if shares.take(plugin) { held[plugin] += 1 }
      case 1:
        shares.wait([step * 8 + plugin], of: plugin)
        waiting[plugin].append(step * 8 + plugin)
      case 2:
        if held[plugin] > 0 {
          shares.value.release(plugin)
          held[plugin] -= 1
        }
      default:
        if let next = shares.next() {
          // Of one plugin, in its order.
          #expect(waiting[next % 8].first == next)
          waiting[next % 8].removeFirst()
          held[next % 8] += 1
        }
      }
      #expect(shares.value.taken == held.reduce(0, +) && shares.value.taken <= capacity)
      #expect(shares.value.waiting == waiting.reduce(0) { $0 + $1.count })
      for plugin in 0..<members where held[plugin] < shares.value.kept { #expect(shares.value.mayTake(plugin)) }
    }
  }

  private struct Seeded: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return state ^ (state >> 29)
    }
  }
}
