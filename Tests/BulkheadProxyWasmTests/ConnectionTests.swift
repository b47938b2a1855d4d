import BulkheadCore
import BulkheadProxyWasm
import BulkheadWire
import ProxyWasmABI
import Testing

@Suite struct ConnectionTests {
  private static let exports: [GuestExport] = [
    .contextCreate, .newConnection, .downstreamData, .upstreamData, .downstreamClose, .upstreamClose, .log, .delete,
  ]

  @Test func aConnectionsCallbacksComeInOrder() throws {
    let harness = try Harness()
    for export in Self.exports { harness.guest.callbacks[export] = { _, _, _ in 0 } }
    harness.guest.callbacks[.done] = { _, _, _ in 1 }
    try harness.run(.newConnection, first: true, end: false)
    try harness.run(.downstreamData, text: "hello")
    try harness.run(.upstreamData, text: "you", end: true)
    try harness.run(.upstreamClose, first: false, end: false, payload: [2, 0, 0, 0])
    try harness.run(.downstreamClose, first: false, end: false, payload: [1, 0, 0, 0])
    try harness.run(.streamDone)
    #expect(
      harness.guest.calls == [
        "proxy_on_context_create(2, 1, 0)", "proxy_on_new_connection(2, 0, 0)", "proxy_on_downstream_data(2, 5, 0)",
        "proxy_on_upstream_data(2, 3, 1)", "proxy_on_upstream_connection_close(2, 2, 0)",
        "proxy_on_downstream_connection_close(2, 1, 0)", "proxy_on_done(2, 0, 0)", "proxy_on_log(2, 0, 0)",
        "proxy_on_delete(2, 0, 0)",
      ])
    let replies = try harness.replies()
    #expect(replies.map(\.sequence) == [1, 2, 3, 4, 5], "each has its reply but for the end")
    #expect(replies.allSatisfy { $0.flags == [] })
  }

  @Test(arguments: [
    (
      CallbackKind.downstreamData, GuestExport.downstreamData, BufferType.downstreamData, StreamType.downstream,
      ReplyRecord.Flags.continueDownstream
    ),
    (.upstreamData, .upstreamData, .upstreamData, .upstream, .continueUpstream),
  ])
  func dataIsHeldEditedAndResumed(
    kind: CallbackKind, export: GuestExport, buffer: BufferType, stream: StreamType, flag: ReplyRecord.Flags
  ) throws {
    let harness = try Harness()
    try harness.run(.newConnection, first: true, end: false)
    harness.guest.callbacks[export] = { [unowned harness] _, size, _ in
      #expect(size == harness.bufferSize(buffer))
      #expect(harness.buffer(.requestBody) == nil && harness.buffer(.responseBody) == nil)
      #expect(harness.splice(buffer, 0, 0, "<") == .ok)
      #expect(harness.header(.requestHeaders, ":path") == nil, "there are none")
      #expect(harness.edit(.addHeaderMapValue, .requestHeaders, "a", "b") == .badArgument)
      #expect(harness.edit(.addHeaderMapValue, .requestTrailers, "a", "b") == .badArgument)
      #expect(harness.call(.continueStream, 0) == .unimplemented)
      #expect(harness.call(.closeStream, 0) == .ok)
      return 1
    }
    try harness.run(kind, text: "a")
    try harness.run(kind, text: "b")
    let replies = try harness.replies().suffix(2)
    #expect(replies.map(\.flags) == [.pause, .pause])
    #expect(replies.map(\.edits) == [["splice \(buffer) 0+0=<"], ["splice \(buffer) 0+0=<"]])
    harness.guest.callbacks[.tick] = { [unowned harness] _, _, _ in
      #expect(harness.call(.setEffectiveContext, 2) == .ok)
      #expect(harness.buffer(buffer) == "<<ab")
      #expect(harness.call(.continueStream, stream.rawValue) == .ok)
      #expect(harness.buffer(buffer) == nil)
      return 0
    }
    try harness.host.tick()
    #expect(try harness.reply().flags == flag)
  }

  @Test func aNewConnectionThatPausedIsResumed() throws {
    let harness = try Harness()
    harness.guest.callbacks[.newConnection] = { _, _, _ in 1 }
    try harness.run(.newConnection, first: true, end: false)
    #expect(try harness.reply().flags == .pause)
    #expect(harness.call(.setEffectiveContext, 2) == .ok)
    #expect(harness.call(.continueStream, 3) == .ok, "the other way waits for nothing")
    #expect(harness.call(.continueStream, 2) == .ok)
    try harness.host.tick()
    #expect(try harness.reply().flags == .continueDownstream)
  }

  @Test(arguments: [(2, .closeDownstream), (3, .closeUpstream)] as [(UInt32, ReplyRecord.Flags)])
  func aConnectionIsClosed(type: UInt32, flag: ReplyRecord.Flags) throws {
    let harness = try Harness()
    try harness.run(.newConnection, first: true, end: false)
    _ = try harness.replies()
    harness.guest.callbacks[.downstreamData] = { [unowned harness] _, _, _ in
      #expect(harness.call(.closeStream, type) == .ok)
      return 0
    }
    try harness.run(.downstreamData, text: "bye")
    #expect(try harness.reply().flags == flag)
  }

  @Test func whatIsHeldStaysWhenItsSenderCloses() throws {
    let harness = try Harness()
    try harness.run(.newConnection, first: true, end: false)
    harness.guest.callbacks[.upstreamData] = { _, _, _ in 1 }
    try harness.run(.upstreamData, text: "last words", end: true)
    _ = try harness.replies()
    harness.guest.callbacks[.upstreamClose] = { [unowned harness] _, _, _ in
      #expect(harness.buffer(.upstreamData) == "last words")
      #expect(harness.splice(.upstreamData, 0, 4, "LAST") == .ok)
      #expect(harness.call(.continueStream, 3) == .ok)
      return 0
    }
    try harness.run(.upstreamClose, first: false, end: false, payload: [0, 0, 0, 0])
    let reply = try harness.reply()
    #expect(reply.kind == .callbackDone && reply.flags == .continueUpstream)
    #expect(reply.edits == ["splice upstreamData 0+4=LAST"])
  }

  @Test func anHTTPStreamIsNotClosedAsAConnection() throws {
    let harness = try Harness()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      for type in [2, 3] as [UInt32] {
        #expect(harness.call(.closeStream, type) == .ok)
        #expect(harness.call(.continueStream, type) == .unimplemented)
      }
      return 0
    }
    try harness.run(.requestHeaders)
    #expect(try harness.reply().flags == [])
  }

  @Test func propertiesOfTheConnectionAreThere() throws {
    let harness = try Harness()
    harness.guest.callbacks[.newConnection] = { [unowned harness] _, _, _ in
      #expect(harness.property("source", "address") == Array("127.0.0.1:4711".utf8))
      #expect(harness.property("request", "path") == nil)
      let (path, size) = harness.guest.put("who")
      let (value, valueSize) = harness.guest.put("me")
      #expect(harness.call(.setProperty, path, size, value, valueSize) == .ok)
      return 0
    }
    try harness.run(.newConnection, first: true, end: false)
    #expect(try harness.reply().edits == ["setProperty 0 who=me"])
  }

  @Test(arguments: [[], [3, 0, 0, 0], [1, 0, 0], [1, 0, 0, 0, 0]] as [[UInt8]])
  func aCloseByNobodyIsAProtocolViolation(payload: [UInt8]) throws {
    let harness = try Harness()
    try harness.run(.newConnection, first: true, end: false)
    #expect(throws: PluginFailure.self) {
      try harness.run(.downstreamClose, first: false, end: false, payload: payload)
    }
  }
}
