import BulkheadSystem
import Glibc
import Testing

@Suite struct PollerTests {
  @Test func aReadablePipeCallsItsHandlerUntilItIsRemoved() throws {
    let poller = try Poller()
    let pipe = try Pipe()
    var seen: [Poller.Events] = []
    let token = try poller.add(pipe.read.raw) { seen.append($0) }
    #expect(try poller.run(timeoutMilliseconds: 0) == 0)
    try write(pipe.write, "x")
    try poller.run()
    // Level-triggered: what nobody read is reported again.
    try poller.run()
    #expect(seen == [.readable, .readable])
    poller.remove(token)
    #expect(try poller.run(timeoutMilliseconds: 0) == 0)
  }

  @Test func aHandlerMayRemoveAnotherWhoseEventWasCollectedAlready() throws {
    let poller = try Poller()
    let first = try Pipe()
    let second = try Pipe()
    try write(first.write, "x")
    try write(second.write, "x")
    var tokens: [Poller.Token] = []
    var calls = 0
    for raw in [first.read.raw, second.read.raw] {
      tokens.append(
        try poller.add(raw) { _ in
          calls += 1
          for token in tokens { poller.remove(token) }
        })
    }
    try poller.run()
    #expect(calls == 1)
  }

  @Test func aHangUpIsReportedWithoutBeingAskedFor() throws {
    let poller = try Poller()
    let read = try Pipe().takeRead()
    var seen: Poller.Events = []
    _ = try poller.add(read.raw, []) { seen = $0 }
    try poller.run()
    #expect(seen.contains(.hangUp))
  }

  @Test func otherThreadsPostWorkInOrder() throws {
    let poller = try Poller()
    let order = Order()
    let mailbox = poller.mailbox
    onThread { for number in 0..<100 { mailbox.post { order.append(number) } } }
    var handled = 0
    while handled < 100 { handled += try poller.run() }
    #expect(order.numbers == Array(0..<100))
  }

  @Test func signalsArriveAsReads() throws {
    try onThreadRethrowing {
      let signals = try SignalDescriptor([SIGUSR2])
      #expect(try signals.next() == nil)
      pthread_kill(pthread_self(), SIGUSR2)
      let arrival = try signals.next()
      #expect(arrival?.signal == SIGUSR2)
      #expect(arrival?.sender == getpid())
      #expect(try signals.next() == nil)
    }
  }

  private func write(_ descriptor: borrowing Descriptor, _ text: String) throws {
    let bytes = Array(text.utf8)
    let count = try bytes.withUnsafeBytes { try descriptor.write($0) }
    #expect(count == bytes.count)
  }
}

/// Numbers in the order in which the loop's thread got them; only that thread touches them.
private final class Order: @unchecked Sendable {
  private(set) var numbers: [Int] = []
  func append(_ number: Int) { numbers.append(number) }
}

/// Runs a closure on a thread of its own, for what changes the thread itself.
private func onThreadRethrowing(_ body: @escaping () throws -> Void) throws {
  var outcome: Result<Void, any Error> = .success(())
  onThread { outcome = Result { try body() } }
  try outcome.get()
}
