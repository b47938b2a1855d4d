import BulkheadCore
import BulkheadProxyWasm
import BulkheadWire
import ProxyWasmABI
import Testing

@Suite struct PropertyTests {
  @discardableResult
  private func set(_ harness: Harness, _ path: String, _ value: String) -> Status {
    let (at, size) = harness.guest.put(path)
    let (valueAt, valueSize) = harness.guest.put(value)
    return harness.call(.setProperty, at, size, valueAt, valueSize)
  }

  private func text(_ harness: Harness, _ parts: String...) -> String? {
    let (path, size) = harness.guest.put(parts.joined(separator: "\0"))
    guard harness.call(.getProperty, path, size, harness.out, harness.out + 4) == .ok else { return nil }
    return harness.text(harness.guest.word(harness.out), harness.guest.word(harness.out + 4))
  }

  @Test func whatAPluginSetsIsItsOwnAndTravelsToTheFront() throws {
    let harness = try Harness()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(text(harness, "user") == "earlier", "a plugin before this one set it")
      #expect(set(harness, "user", "own") == .ok)
      #expect(text(harness, "user") == "own")
      #expect(set(harness, "a\0b\0", "1") == .ok)
      #expect(text(harness, "a", "b") == "1")
      return 0
    }
    try harness.run(.requestHeaders, properties: [("user", "earlier")])
    #expect(try harness.reply().edits == ["setProperty 0 user=own", "setProperty 0 a\0b=1"])
    #expect(set(harness, "rooted", "1") == .ok)
    #expect(text(harness, "rooted") == "1")
    #expect(try harness.replies().isEmpty, "the root's are nobody else's")
  }

  @Test(arguments: [
    "source\0address", "request\0path", "plugin_name", "connection\0subject_peer_certificate", "xds\0node",
  ])
  func whatTheHostGivesCannotBeSet(path: String) throws {
    let harness = try Harness()
    var before: String?
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      before = text(harness, path)
      #expect(set(harness, path, "forged") == .ok, "it is taken, as in Envoy")
      #expect(text(harness, path) == before)
      return 0
    }
    try harness.run(.requestHeaders)
    #expect(try harness.reply().edits.isEmpty)
  }

  @Test func whatTheFrontKnowsStandsBeforeWhatPluginsSet() throws {
    let harness = try Harness()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(text(harness, "source", "address") == "127.0.0.1:4711")
      #expect(text(harness, "upstream", "address") == "10.0.0.1:80")
      return 0
    }
    try harness.run(
      .requestHeaders,
      properties: [
        ("upstream\0address", "10.0.0.1:80"), ("source\0address", "forged"), ("upstream\0address", "forged"),
      ])
  }

  @Test func oneThingHasTheSameValueUnderAllItsNames() throws {
    let harness = try Harness()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(text(harness, "cluster_name") == "origin")
      #expect(text(harness, "xds", "cluster_name") == "origin")
      #expect(text(harness, "xds", "route_name") == nil)
      #expect(text(harness, "route_name") == nil)
      #expect(text(harness, "connection_id") == nil)
      #expect(text(harness, "request", "headers", "accept") == "a,b")
      #expect(text(harness, "request", "nothing") == nil)
      #expect(text(harness, "request") == nil)
      #expect(text(harness, "") == nil)
      return 0
    }
    try harness.run(.requestHeaders, properties: [("cluster_name", "origin")])
    harness.guest.callbacks[.responseHeaders] = { [unowned harness] _, _, _ in
      #expect(text(harness, "connection_id") == "12345678")
      return 0
    }
    try harness.run(.responseHeaders, properties: [("connection\0id", "12345678")])
  }

  @Test func whatTheFrontCountedBeatsWhatTheMessageAnnounced() throws {
    let harness = try Harness()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.property("request", "size") == PropertyValue.bytes(12 as Int64))
      return 0
    }
    harness.guest.callbacks[.log] = { [unowned harness] _, _, _ in
      #expect(harness.property("request", "size") == PropertyValue.bytes(7 as Int64))
      #expect(harness.property("response", "code") == PropertyValue.bytes(77 as Int64))
      return 0
    }
    try harness.run(.requestHeaders)
    try harness.run(.responseHeaders)
    func value(_ number: Int64) -> String { String(decoding: PropertyValue.bytes(number), as: UTF8.self) }
    try harness.run(.streamDone, properties: [("request\0size", value(7)), ("response\0code", value(77))])
  }

  @Test func thePropertiesOfAllStreamsAreBoundedTogether() throws {
    let harness = try Harness { $0.maximumOwnPropertyBytes = 10_000 }
    harness.guest.callbacks[.done] = { _, _, _ in 1 }
    var statuses: [Status] = []
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      statuses.append(set(harness, "p", String(repeating: "v", count: 3_000)))
      // What it replaces counts no more.
      if statuses.last == .ok { #expect(set(harness, "p", String(repeating: "w", count: 3_000)) == .ok) }
      return 0
    }
    for stream in 1...4 as ClosedRange<UInt32> { try harness.run(.requestHeaders, stream: stream) }
    #expect(statuses == [.ok, .ok, .ok, .internalFailure])
    #expect(harness.services.logs.contains { $0.level == .warn && $0.message.contains("10000 bytes") })
    // A stream that ends gives its own back.
    try harness.run(.streamDone, stream: 1)
    try harness.run(.requestHeaders, stream: 5)
    #expect(statuses.last == .ok)
  }

  @Test func aPropertyThatNoReplyHoldsIsRefused() throws {
    let harness = try Harness { $0.maximumReply = 16 << 10 }
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(set(harness, "large", String(repeating: "v", count: 17_000)) == .internalFailure)
      return 0
    }
    try harness.run(.requestHeaders)
    #expect(try harness.reply().edits.isEmpty)
  }
}
