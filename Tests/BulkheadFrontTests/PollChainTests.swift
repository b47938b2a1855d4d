import Testing

@testable import BulkheadFront

@Suite struct PollChainTests {
  @Test func looksWithoutAResultGoOnForATime() {
    var chain = PollChain()
    var looks = 0
    while chain.mayGoOn(isNext: looks > 0, hasBacklog: false) { looks += 1 }
    #expect(looks == PollChain.longest)
    let again = chain.mayGoOn(isNext: true, hasBacklog: false)
    #expect(again, "the next chain begins")
  }

  @Test func aBacklogLeavesTheSocketsWaitingForTwoRounds() {
    var chain = PollChain()
    var looks = 0
    while chain.mayGoOn(isNext: looks > 0, hasBacklog: true) { looks += 1 }
    #expect(looks == 2)
  }

  @Test func aLookThatAnEventAskedForBeginsAnew() {
    var chain = PollChain()
    for _ in 0..<10_000 {
      let may = chain.mayGoOn(isNext: false, hasBacklog: true)
      #expect(may)
    }
  }
}
