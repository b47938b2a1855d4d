import BulkheadWire
import ProxyWasmABI
import Testing

@testable import BulkheadProxyWasm

/// What one callback wants of other streams.
@Suite struct PendingActionTests {
  @Test func actionsOfManyStreamsAreSentBeforeTheyFillTheMemory() throws {
    let harness = try Harness { $0.maximumRecord = 1 << 20 }
    for stream in 1...200 as ClosedRange<UInt32> {
      harness.guest.callbacks[.requestHeaders] = { _, _, _ in 1 }
      try harness.run(.requestHeaders, stream: stream)
    }
    _ = try harness.replies()
    let (key, keySize) = harness.guest.put("k")
    let (value, valueSize) = harness.guest.put(String(repeating: "v", count: 30_000))
    var sentMeanwhile = 0
    harness.guest.callbacks[.tick] = { [unowned harness] _, _, _ in
      for id in 2..<202 as Range<UInt32> {
        #expect(harness.call(.setEffectiveContext, id) == .ok)
        #expect(harness.call(.addHeaderMapValue, 0, key, keySize, value, valueSize) == .ok)
      }
      sentMeanwhile = harness.services.replies.count
      return 0
    }
    try harness.host.tick()
    #expect((130...145).contains(sentMeanwhile), "four mebibytes of 30,000 bytes each")
    let replies = try harness.replies()
    #expect(replies.map(\.stream).sorted() == Array(1...200))
    #expect(replies.allSatisfy { $0.kind == .streamAction && $0.edits.count == 1 })
  }

  @Test func whatIsAboutTheRunningStreamStaysBehindItsReply() throws {
    let harness = try Harness { $0.maximumRecord = 8 << 20 }
    for way in Way.both { try way.begin(harness, stream: way.body == .requestBody ? 1 : 2) }
    harness.guest.callbacks[.requestBody] = { _, _, _ in 1 }
    try harness.run(.requestBody, text: "a", stream: 2)
    try harness.run(.requestBody, text: "a", stream: 1)
    _ = try harness.replies()
    let (value, size) = harness.guest.put(String(repeating: "v", count: 60_000))
    harness.guest.callbacks[.responseBody] = { [unowned harness] _, _, _ in
      // Of the running stream's other way, in an action of its own.
      #expect(harness.call(.setBufferBytes, 0, 0, 0, value, 5) == .ok)
      for _ in 0..<80 {
        #expect(harness.call(.setEffectiveContext, 2) == .ok)
        #expect(harness.call(.setBufferBytes, 0, 0, 60_000, value, size) == .ok)
      }
      return 0
    }
    try harness.run(.responseBody, text: "b", stream: 2)
    let replies = try harness.replies()
    #expect(replies.contains { $0.stream == 1 })
    let own = replies.filter { $0.stream == 2 }
    #expect(own.map(\.kind) == [.callbackDone, .streamAction])
  }

  @Test func aStreamIsDoneOnceHoweverOftenThePluginSaysSo() throws {
    let harness = try Harness()
    harness.guest.callbacks[.done] = { _, _, _ in 0 }
    try harness.run(.requestHeaders)
    try harness.run(.streamDone)
    harness.guest.callbacks[.tick] = { [unowned harness] _, _, _ in
      #expect(harness.call(.setEffectiveContext, 2) == .ok)
      for _ in 0..<1_000 { #expect(harness.call(.done) == .ok) }
      #expect(harness.host.finished.count == 1)
      return 0
    }
    try harness.host.tick()
    #expect(harness.host.streamCount == 0)
  }

  @Test func aLineNamesAtMostTheStartOfALongRequestID() throws {
    let harness = try Harness()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      let (at, size) = harness.guest.put("line")
      #expect(harness.call(.log, 2, at, size) == .ok)
      return 0
    }
    try harness.run(.requestHeaders, request: [("x-request-id", String(repeating: "i", count: 50_000))])
    #expect(harness.services.logs.map(\.stream.utf8.count) == [128])
  }
}
