import BulkheadCore
import BulkheadProxyWasm
import BulkheadWire
import ProxyWasmABI
import Testing

/// What callbacks return beyond 0 and 1, by dialect.
@Suite struct ReturnValueTests {
  @Test(
    arguments: [
      (0, false, .proceed), (1, false, .pause), (1, true, .stopIteration), (2, false, .proceed), (2, true, .proceed),
      (3, false, .pause), (3, true, .pause), (4, true, .pause), (5, true, .pause), (.max, false, .pause),
    ] as [(UInt32, Bool, Action)])
  func ofHeaders(returned: UInt32, stopsIteration: Bool, expected: Action) {
    #expect(Action(headers: returned, stopsIteration: stopsIteration) == expected)
  }

  @Test(
    arguments: [
      (0, .proceed), (1, .pause), (2, .watermark), (3, .noBuffer), (4, .noBuffer), (.max, .noBuffer),
    ] as [(UInt32, Action)])
  func ofABody(returned: UInt32, expected: Action) { #expect(Action(body: returned) == expected) }

  @Test(arguments: [(0, .proceed), (1, .pause), (2, .pause), (.max, .pause)] as [(UInt32, Action)])
  func ofTrailersAndConnections(returned: UInt32, expected: Action) { #expect(Action(other: returned) == expected) }

  private static let dialects: [(abi: ABIVersion, isAsked: Bool, stops: Bool)] = [
    (.version010, false, false), (.version020, false, false), (.version021, false, false), (.version021, true, true),
    (.version02100, false, true),
  ]

  @Test(arguments: dialects)
  func headersStopAloneWhereTheDialectHasItOrTheManifestAsks(abi: ABIVersion, isAsked: Bool, stops: Bool) throws {
    for way in Way.both {
      let harness = try Harness {
        $0.abi = abi
        $0.headersStopIteration = abi.headersStopIteration || isAsked
      }
      harness.guest.callbacks[.requestHeaders] = { _, _, _ in way.body == .requestBody ? 1 : 0 }
      harness.guest.callbacks[.responseHeaders] = { _, _, _ in 1 }
      try harness.run(.requestHeaders, end: false)
      if way.body == .responseBody { try harness.run(.responseHeaders, end: false) }
      #expect(try harness.replies().last?.flags == (stops ? [.pause, .stopIteration] : .pause))
      guard stops else { continue }
      harness.guest.callbacks[way.export] = { [unowned harness] _, _, end in
        #expect(harness.edit(.addHeaderMapValue, way.headers, "x-late", "1") == .ok)
        return end == 0 ? 1 : 0
      }
      try harness.run(way.body, text: "a")
      try harness.run(way.body, text: "b", end: true)
      let replies = try harness.replies()
      #expect(replies.map(\.flags) == [.pause, []])
      #expect(replies.map(\.edits) == [["add \(way.headers) x-late=1"], ["add \(way.headers) x-late=1"]])
    }
  }

  @Test func headersWithNothingBehindThemArePausedAsAWhole() throws {
    let harness = try Harness { $0.headersStopIteration = true }
    harness.guest.callbacks[.requestHeaders] = { _, _, _ in 1 }
    try harness.run(.requestHeaders, end: true)
    #expect(try harness.reply().flags == .pause)
  }

  @Test(arguments: Way.both) func whatIsNotBufferedIsNotShownAgain(way: Way) throws {
    for (returned, flags) in [(2 as UInt32, ReplyRecord.Flags.watermark), (3, .noBuffer)] {
      let harness = try Harness()
      try way.begin(harness)
      var seen: [String] = []
      harness.guest.callbacks[way.export] = { [unowned harness] _, size, end in
        let body = harness.buffer(way.buffer) ?? "none"
        #expect(size == body.utf8.count)
        seen.append(body)
        if end == 1 { #expect(harness.splice(way.buffer, 0, 0, "all") == .ok) }
        return end == 1 ? 0 : returned
      }
      try harness.run(way.body, text: "12345")
      try harness.run(way.body, text: "67890")
      try harness.run(way.body, text: "", end: true)
      #expect(seen == ["12345", "67890", ""])
      let replies = try harness.replies()
      #expect(replies.map(\.flags) == [[.pause, flags], [.pause, flags], []])
      #expect(replies.last?.edits == ["splice \(way.buffer) 0+0=all"])
    }
  }
}
