import BulkheadSystem
import Glibc
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// How many connections may wait to be accepted, as the kernel has it.
@Suite(.serialized) struct AcceptQueueTests {
  @Test func aFrontLeavesTheAcceptQueueAsItsSocketHadIt() throws {
    let front = try TestFront()
    defer { front.stop() }
    #expect(try ListeningSocket.backlog(of: front.listeners[0]) == ListeningSocket.usualBacklog)
  }

  @Test func connectionsWaitWhileTheFrontDoesNotAccept() throws {
    let front = try TestFront { $0.holdsAccept = true }
    defer { front.stop() }
    // One that finds no place is not refused: connect() would wait for ever.
    var clients: [TestClient] = []
    for _ in 0..<400 { clients.append(try TestClient(port: front.ports[0])) }
    try front.command(.accept)
    clients[399].send("GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    #expect(clients[399].readToEnd().contains("/last"))
  }
}
