import BulkheadCore
import BulkheadProxyWasm
import BulkheadWire
import ProxyWasmABI
import Testing

@Suite struct LifecycleTests {
  @Test func theRootContextComesFirstThenTheTwoConfigurations() throws {
    let harness = try Harness()
    for export in [GuestExport.initialize, .main, .start, .contextCreate] {
      harness.guest.callbacks[export] = { _, _, _ in 0 }
    }
    for export in [GuestExport.vmStart, .configure] { harness.guest.callbacks[export] = { _, _, _ in 1 } }
    try harness.start()
    #expect(
      harness.guest.calls == [
        "_initialize(0, 0, 0)", "main(0, 0, 0)", "proxy_on_context_create(1, 0, 0)", "proxy_on_vm_start(1, 3, 0)",
        "proxy_on_configure(1, 7, 0)",
      ])
  }

  @Test func startRunsWhereThereIsNoInitialize() throws {
    let harness = try Harness()
    for export in [GuestExport.main, .start] { harness.guest.callbacks[export] = { _, _, _ in 0 } }
    try harness.start()
    #expect(harness.guest.calls == ["_start(0, 0, 0)"])
  }

  @Test(arguments: [GuestExport.vmStart, .configure])
  func aPluginThatSaysNoIsRefused(export: GuestExport) throws {
    let harness = try Harness()
    harness.guest.callbacks[.vmStart] = { _, _, _ in export == .vmStart ? 0 : 1 }
    harness.guest.callbacks[.configure] = { _, _, _ in 0 }
    #expect(throws: PluginFailure.refused(export)) { try harness.start() }
  }

  @Test func configurationsAreBuffersSixAndSeven() throws {
    let harness = try Harness()
    let out = harness.out
    #expect(harness.call(.getBufferBytes, 6, 0, 100, out, out + 4) == .ok)
    #expect(harness.text(harness.guest.word(out), harness.guest.word(out + 4)) == "vm!")
    #expect(harness.call(.getBufferBytes, 7, 1, 3, out, out + 4) == .ok)
    #expect(harness.text(harness.guest.word(out), harness.guest.word(out + 4)) == "\"a\"")
    #expect(harness.call(.getBufferStatus, 7, out, out + 4) == .ok)
    #expect(harness.guest.word(out) == 7)
    #expect(harness.call(.getBufferBytes, 7, 500, 3, out, out + 4) == .ok)
    #expect(harness.guest.word(out + 4) == 0)
    #expect(harness.call(.getBufferBytes, 7, 1, .max, out, out + 4) == .badArgument)
    #expect(harness.call(.getBufferBytes, 0, 0, 3, out, out + 4) == .notFound)
    #expect(harness.call(.getBufferBytes, 9, 0, 3, out, out + 4) == .badArgument)
  }

  @Test func aStreamsCallbacksComeInOrderAndItsNumberFollowsTheRoot() throws {
    let harness = try Harness()
    for export in [GuestExport.contextCreate, .requestHeaders, .responseHeaders, .log, .delete] {
      harness.guest.callbacks[export] = { _, _, _ in 0 }
    }
    harness.guest.callbacks[.done] = { _, _, _ in 1 }
    try harness.run(.requestHeaders)
    #expect(try harness.reply().flags == [])
    try harness.run(.responseHeaders, end: false)
    #expect(try harness.reply().sequence == 2)
    try harness.run(.streamDone)
    #expect(
      harness.guest.calls == [
        "proxy_on_context_create(2, 1, 0)", "proxy_on_request_headers(2, 9, 1)", "proxy_on_response_headers(2, 2, 0)",
        "proxy_on_done(2, 0, 0)", "proxy_on_log(2, 0, 0)", "proxy_on_delete(2, 0, 0)",
      ])
    #expect(harness.host.streamCount == 0)
    #expect(try harness.replies().isEmpty)
  }

  @Test func theSameNumberOnAnotherEventLoopIsAnotherStream() throws {
    let harness = try Harness()
    try harness.run(.requestHeaders, stream: 1, loop: 0)
    try harness.run(.requestHeaders, stream: 1, loop: 1)
    #expect(harness.host.streamCount == 2)
    #expect(harness.services.replies.map(\.loop) == [0, 1])
  }

  @Test func aRecordThatCannotFollowIsAProtocolViolation() throws {
    let harness = try Harness()
    #expect(throws: PluginFailure.self) { try harness.run(.responseHeaders, stream: 3) }
    try harness.run(.requestHeaders, stream: 3)
    #expect(throws: PluginFailure.self) { try harness.run(.requestHeaders, stream: 3) }
  }

  @Test func moreStreamsThanTheBoundAreAProtocolViolation() throws {
    let harness = try Harness { $0.maximumStreams = 2 }
    try harness.run(.requestHeaders, stream: 1)
    try harness.run(.requestHeaders, stream: 2)
    #expect(throws: PluginFailure.self) { try harness.run(.requestHeaders, stream: 3) }
  }

  @Test func manyStreamsComeAndGo() throws {
    let harness = try Harness()
    for round in 0..<50 {
      for stream in 0..<40 { try harness.run(.requestHeaders, stream: UInt32(stream * 64 + round)) }
      for stream in (0..<40).reversed() {
        try harness.run(.responseHeaders, stream: UInt32(stream * 64 + round))
        try harness.run(.streamDone, stream: UInt32(stream * 64 + round))
      }
      #expect(harness.host.streamCount == 0)
    }
  }

  @Test func aHeldStreamEndsWithProxyDone() throws {
    let harness = try Harness()
    harness.guest.callbacks[.done] = { _, _, _ in 0 }
    for export in [GuestExport.log, .delete, .tick] { harness.guest.callbacks[export] = { _, _, _ in 0 } }
    try harness.run(.requestHeaders)
    try harness.run(.streamDone)
    #expect(harness.host.streamCount == 1)
    #expect(harness.call(.done) == .notFound, "the root is not pending")
    harness.guest.callbacks[.tick] = { [unowned harness] _, _, _ in
      #expect(harness.call(.setEffectiveContext, 2) == .ok)
      #expect(harness.header(.requestHeaders, ":path") == "/a/b?q=1")
      #expect(harness.edit(.addHeaderMapValue, .requestHeaders, "a", "b") == .badArgument)
      #expect(harness.call(.done) == .ok)
      return 0
    }
    try harness.host.tick()
    #expect(harness.guest.calls.suffix(2) == ["proxy_on_log(2, 0, 0)", "proxy_on_delete(2, 0, 0)"])
    #expect(harness.host.streamCount == 0)
    #expect(harness.call(.setEffectiveContext, 2) == .badArgument)
  }

  @Test func heldStreamsAreBounded() throws {
    let harness = try Harness { $0.maximumHeldStreams = 3 }
    harness.guest.callbacks[.done] = { _, _, _ in 0 }
    harness.guest.callbacks[.delete] = { _, _, _ in 0 }
    for stream in 0..<10 {
      try harness.run(.requestHeaders, stream: UInt32(stream))
      try harness.run(.streamDone, stream: UInt32(stream))
    }
    #expect(harness.host.streamCount == 3)
    #expect(harness.guest.calls.filter { $0.hasPrefix("proxy_on_delete") }.first == "proxy_on_delete(2, 0, 0)")
  }

  @Test func heldStreamsAreBoundedInBytesToo() throws {
    let harness = try Harness { $0.maximumHeldBytes = 100_000 }
    harness.guest.callbacks[.done] = { _, _, _ in 0 }
    harness.guest.callbacks[.delete] = { _, _, _ in 0 }
    let large = [(":path", "/"), ("x-large", String(repeating: "v", count: 30_000))]
    for stream in 1...10 as ClosedRange<UInt32> {
      try harness.run(.requestHeaders, stream: stream, request: large)
      try harness.run(.streamDone, stream: stream)
    }
    #expect((1...3).contains(harness.host.streamCount))
    #expect(harness.guest.calls.first { $0.hasPrefix("proxy_on_delete") } == "proxy_on_delete(2, 0, 0)")
    #expect(harness.services.logs.contains { $0.level == .warn && $0.message.contains("100000 bytes") })
  }

  @Test func ticksAreSetAndTold() throws {
    let harness = try Harness()
    #expect(!harness.host.wantsTicks)
    #expect(harness.call(.setTickPeriodMilliseconds, 250) == .ok)
    #expect(harness.call(.setTickPeriodMilliseconds, 250) == .ok)
    #expect(harness.services.tickPeriods == [250])
    #expect(!harness.host.wantsTicks, "no proxy_on_tick is exported")
    harness.guest.callbacks[.tick] = { _, _, _ in 0 }
    #expect(harness.host.wantsTicks)
    try harness.host.tick()
    #expect(harness.guest.calls == ["proxy_on_tick(1, 0, 0)"])
  }

  @Test func theEffectiveContextIsResetForEachCallback() throws {
    let harness = try Harness()
    try harness.run(.requestHeaders, stream: 1, request: [(":path", "/one")])
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.header(.requestHeaders, ":path") == "/two")
      #expect(harness.call(.setEffectiveContext, 2) == .ok)
      #expect(harness.header(.requestHeaders, ":path") == "/one")
      #expect(harness.call(.setEffectiveContext, 1) == .ok)
      #expect(harness.header(.requestHeaders, ":path") == nil, "the root has no headers")
      return 0
    }
    try harness.run(.requestHeaders, stream: 2, request: [(":path", "/two")])
    harness.guest.callbacks[.responseHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.header(.requestHeaders, ":path") == "/two")
      return 0
    }
    try harness.run(.responseHeaders, stream: 2)
  }

  @Test func aGuestThatStopsEndsThePlugin() throws {
    let harness = try Harness()
    harness.guest.callbacks[.requestHeaders] = { _, _, _ in nil }
    #expect(throws: PluginFailure.stopped) { try harness.run(.requestHeaders) }
  }

  @Test func anAllocatorThatStopsStopsTheHostcall() throws {
    let harness = try Harness()
    harness.guest.callbacks[.malloc] = { _, _, _ in nil }
    let (outcome, _) = harness.raw(.hostcall(.getBufferBytes), [7, 0, 9, UInt64(harness.out), UInt64(harness.out + 4)])
    #expect(outcome == .stopped)
  }
}
