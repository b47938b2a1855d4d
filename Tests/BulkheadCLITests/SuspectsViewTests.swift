import BulkheadControl
import BulkheadCore
import Testing

@testable import BulkheadCLI

@Suite struct SuspectsViewTests {
  @Test func aFingerprintIsALineAndSoIsALane() throws {
    let now = ViewTests.now.milliseconds
    func suspect(_ kind: String, _ look: String, _ client: String?, _ reason: ExitReason?) -> SuspectsResponse.Suspect {
      .init(
        plugin: "geo", kind: kind, look: look, client: client, reason: reason, deaths: 3, matches: 17,
        first: Timestamp(milliseconds: now - 60_000), last: Timestamp(milliseconds: now - 12_000),
        expiresInSeconds: 588, requestID: "r")
    }
    let budget = PluginInfo.Budget(
      intervalSeconds: 60, deaths: 11, requests: 12, processorPercent: 21.4, failedStarts: 0, restarts: nil,
      isSpent: true, allowed: .init(sharePercent: 10, processorPercent: 20, failedStarts: 10, restarts: nil))
    let response = SuspectsResponse(
      suspects: [
        suspect("request", "GET a/b?c\u{1B}[2J", "192.0.2.7", .deadline), suspect("client", "", nil, nil),
      ],
      lanes: [
        .init(plugin: "geo", state: .quarantined, pid: nil, startsInSeconds: 29, budget: budget),
        .init(plugin: "log", state: .ready, pid: 12, startsInSeconds: nil, budget: nil),
        .init(plugin: "old", state: nil, pid: nil, startsInSeconds: nil, budget: nil),
      ], leftOut: 2)
    #expect(
      try ViewTests.table.show(response) == """
        PLUGIN  KIND     CLIENT     DEATHS  MATCHES  REASON       LAST   EXPIRES  LOOKS LIKE
        geo     request  192.0.2.7       3       17  deadline  12s ago  in 9m48s  GET a/b?c [2J
        geo     client   several         3       17  -         12s ago  in 9m48s  -

        2 more: ask for one plugin

        geo: lane quarantined, tried again in 29s; 11 deaths of 12 requests, 21.4 % of a CPU within 1m0s; suspects are refused: \
        bulkheadctl suspects geo --clear
        log: lane ready, pid 12
        old: no lane, since no suspect came for a while
        """)
    #expect(try ViewTests.table.show(SuspectsResponse(suspects: [], lanes: [])) == "no suspects")
  }
}
