import BulkheadWire
import Glibc
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

@Suite struct PingTests {
  @Test(arguments: [1, 3]) func theFrontAnswersOnceAllItsLoopsRun(_ eventLoops: UInt32) throws {
    let front = try TestFront(plugins: [], eventLoops: eventLoops)
    defer { front.stop() }
    for number in [7, 8] as [UInt32] {
      try front.command(.ping(number: number))
      try front.waitForEvent { $0 == .pong(number: number) }
    }
    #expect(front.events.count { if case .pong = $0 { true } else { false } } == 2)
  }

  @Test func aLoopThatStandsStillKeepsTheAnswerBack() throws {
    let front = try TestFront(plugins: [], eventLoops: 2)
    defer { front.stop() }
    let gate = Gate()
    front.front.loops[1].eventLoop.execute { gate.pass() }
    try front.command(.ping(number: 1))
    // Refused at once by the control thread, which has taken the ping by then.
    try front.command(.addWorker(worker: 5, plugin: 99))
    try front.waitForEvent { $0 == .workerGone(worker: 5) }
    #expect(!front.events.contains(.pong(number: 1)))
    gate.open()
    try front.waitForEvent { $0 == .pong(number: 1) }
  }
}
