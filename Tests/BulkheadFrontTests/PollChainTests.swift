import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

@Suite struct PollChainTests {
  @Test(arguments: [(0, 0, 255), (1, 0, 1), (2, 0, 0), (100, 0, 0), (0, 64, 1), (0, 1, 127), (1, 64, 0)])
  func theSocketsComeAfterManyLooksOrAfterTwoRoundsOfReplies(backlogs: Int, unasked: Int, expected: Int) {
    var chain = PollChain()
    chain.begin()
    var looks = 0
    while chain.mayGoOn(backlogs: backlogs, unasked: unasked) { looks += 1 }
    #expect(looks == expected)
    let again = chain.mayGoOn(backlogs: 0)
    #expect(again, "the next chain begins")
  }

  @Test func aLookThatAnEventAskedForBeginsAnew() {
    var chain = PollChain()
    for _ in 0..<10_000 {
      chain.begin()
      let may = chain.mayGoOn(backlogs: 1)
      #expect(may)
    }
  }

  /// A plugin may say something of its streams at any time; one that does nothing else has all rounds of replies.
  @Test func aWorkerThatAlwaysHasAReplyDoesNotKeepTheLoopFromItsSockets() throws {
    let front = try TestFront(plugins: [.test("talker", .failClose, [.requestBody])])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .pause }
    let client = try TestClient(port: front.ports[0])
    client.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody")
    try worker.waitForSeen(1)
    let stream = try #require(worker.seen.first).stream
    worker.talkWithoutEnd(of: stream)
    try waitUntil { worker.sent.value > 5_000 }
    // Each one takes several looks at the sockets; the plugin has no callback for it.
    for _ in 0..<5 { #expect(try front.get().status == 200) }
    worker.beSilent()
    worker.act(stream: stream, flags: .continueRequest)
    #expect(TestResponse(client.readToEnd()).status == 200)
  }
}
