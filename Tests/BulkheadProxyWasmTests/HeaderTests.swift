import BulkheadCore
import BulkheadProxyWasm
import BulkheadWire
import ProxyWasmABI
import Testing

@Suite struct HeaderTests {
  /// Runs `body` inside a request headers callback and gives the reply.
  private func inRequest(_ harness: Harness, returns: UInt32 = 0, _ body: @escaping () -> Void) throws -> Reply {
    harness.guest.callbacks[.requestHeaders] = { _, _, _ in
      body()
      return returns
    }
    try harness.run(.requestHeaders)
    return try harness.reply()
  }

  @Test func valuesAreReadWhateverTheCaseOfTheName() throws {
    let harness = try Harness()
    _ = try inRequest(harness) {
      #expect(harness.header(.requestHeaders, "User-Agent") == "test")
      #expect(harness.header(.requestHeaders, ":path") == "/a/b?q=1")
      #expect(harness.header(.requestHeaders, "accept") == "a,b", "several values come joined")
      #expect(harness.header(.requestHeaders, "nothing") == nil)
      let (key, size) = harness.guest.put("nothing")
      #expect(harness.call(.getHeaderMapValue, 0, key, size, harness.out, harness.out + 4) == .notFound)
    }
  }

  @Test func cookiesAreJoinedAsCookiesAndSetCookieNotAtAll() throws {
    let harness = try Harness()
    _ = try inRequest(harness) {
      for (name, value) in [
        ("cookie", "a=1"), ("Cookie", "b=2"), ("set-cookie", "c=3; Expires=Sun, 06"), ("set-cookie", "d=4"),
      ] {
        #expect(harness.edit(.addHeaderMapValue, .requestHeaders, name, value) == .ok)
      }
      #expect(harness.header(.requestHeaders, "Cookie") == "a=1; b=2")
      #expect(harness.header(.requestHeaders, "Set-Cookie") == "c=3; Expires=Sun, 06")
    }
  }

  @Test func pairsComeInOrderBeforeAndAfterEdits() throws {
    let harness = try Harness()
    let reply = try inRequest(harness) {
      let before = Harness.request.map { "\($0)=\($1)" }
      #expect((try? harness.pairs(.requestHeaders)) == before)
      #expect(harness.edit(.addHeaderMapValue, .requestHeaders, "X-New", "1") == .ok)
      #expect(harness.edit(.replaceHeaderMapValue, .requestHeaders, "Accept", "c") == .ok)
      #expect(harness.edit(.replaceHeaderMapValue, .requestHeaders, "other", "2") == .ok)
      #expect(harness.edit(.removeHeaderMapValue, .requestHeaders, "user-agent") == .ok)
      #expect(harness.edit(.removeHeaderMapValue, .requestHeaders, "not-there") == .ok)
      #expect(harness.edit(.addHeaderMapValue, .requestHeaders, ":path", "/new") == .ok)
      #expect(
        (try? harness.pairs(.requestHeaders)) == [
          ":method=GET", ":scheme=http", ":authority=example.org", ":path=/new", "accept=c", "x-request-id=id-1",
          "content-length=12", "x-new=1", "other=2",
        ])
      #expect(harness.header(.requestHeaders, "x-NEW") == "1")
    }
    #expect(
      reply.edits == [
        "add requestHeaders x-new=1", "replace requestHeaders accept=c", "replace requestHeaders other=2",
        "remove requestHeaders user-agent=", "replace requestHeaders :path=/new",
      ])
  }

  @Test func aWholeMapIsSetAndKeepsItsPseudoHeaders() throws {
    let harness = try Harness()
    let reply = try inRequest(harness) {
      var writer = WireWriter()
      writer.pairs([("X-A", "1"), (":path", "/set"), ("x-a", "2")])
      let (at, size) = harness.guest.put(writer.array)
      #expect(harness.call(.setHeaderMapPairs, 0, at, size) == .ok)
      #expect(
        (try? harness.pairs(.requestHeaders)) == [
          ":path=/set", ":method=GET", ":scheme=http", ":authority=example.org", "x-a=1", "x-a=2",
        ])
    }
    #expect(
      reply.edits == [
        "set requestHeaders =:path=/set&:method=GET&:scheme=http&:authority=example.org&x-a=1&x-a=2"
      ])
  }

  @Test func aWholeMapWithHostSetsTheAuthority() throws {
    let harness = try Harness()
    let reply = try inRequest(harness) {
      var writer = WireWriter()
      writer.pairs([("Host", "other.org"), ("x-a", "1")])
      let (at, size) = harness.guest.put(writer.array)
      #expect(harness.call(.setHeaderMapPairs, 0, at, size) == .ok)
      #expect(harness.header(.requestHeaders, ":authority") == "other.org")
    }
    #expect(
      reply.edits == ["set requestHeaders =:authority=other.org&:method=GET&:scheme=http&:path=/a/b?q=1&x-a=1"])
  }

  @Test func namesAndValuesOfAMapAreBoundedWhateverTheReplyTakes() throws {
    let harness = try Harness {
      $0.maximumRecord = 1 << 20
      $0.maximumMapBytes = 10_000
    }
    let before = Harness.request.reduce(0) { $0 + $1.0.utf8.count + $1.1.utf8.count }
    let reply = try inRequest(harness) {
      let room = String(repeating: "v", count: 10_000 - before - 1)
      #expect(harness.edit(.addHeaderMapValue, .requestHeaders, "a", room + "v") == .ok)
      #expect(harness.edit(.replaceHeaderMapValue, .requestHeaders, "a", room + "v") == .ok)
      #expect(harness.header(.requestHeaders, "a") == nil)
      #expect(harness.edit(.addHeaderMapValue, .requestHeaders, "a", room) == .ok)
      #expect(harness.edit(.addHeaderMapValue, .requestHeaders, "b", "") == .ok)
      #expect(harness.header(.requestHeaders, "b") == nil)
      // What it replaces counts no more.
      #expect(harness.edit(.replaceHeaderMapValue, .requestHeaders, "a", room) == .ok)
      #expect(harness.edit(.removeHeaderMapValue, .requestHeaders, "accept") == .ok)
      #expect(harness.edit(.addHeaderMapValue, .requestHeaders, "b", "1") == .ok)
      var writer = WireWriter()
      writer.pairs([("c", room + room)])
      let (at, size) = harness.guest.put(writer.array)
      #expect(harness.call(.setHeaderMapPairs, 0, at, size) == .ok)
      #expect(harness.header(.requestHeaders, "c") == nil)
    }
    #expect(reply.edits.count == 4)
    #expect(reply.status == 431, "a message of which a part is missing does not go on")
    #expect(
      harness.services.logs.contains { $0.level == .warn && $0.message.contains("10000 bytes (by limits.header") })
  }

  @Test func aMapThatCameLargerThanItsBoundMayShrink() throws {
    let harness = try Harness { $0.maximumMapBytes = 10 }
    let reply = try inRequest(harness) {
      #expect(harness.edit(.replaceHeaderMapValue, .requestHeaders, "user-agent", "t") == .ok)
      #expect(harness.edit(.addHeaderMapValue, .requestHeaders, "a", "b") == .ok)
    }
    #expect(reply.edits.count == 1)
    #expect(reply.status == 431)
  }

  @Test(arguments: [[], [0]] as [[UInt8]])
  func anEmptyMapHasTwoForms(bytes: [UInt8]) throws {
    let harness = try Harness()
    _ = try inRequest(harness) {
      let (at, size) = harness.guest.put(bytes)
      #expect(harness.call(.setHeaderMapPairs, 0, at, size) == .ok)
      #expect((try? harness.pairs(.requestHeaders).count) == 4)
    }
  }

  @Test func statusIsEditedInTheResponse() throws {
    let harness = try Harness()
    try harness.run(.requestHeaders)
    _ = try harness.replies()
    harness.guest.callbacks[.responseHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.edit(.replaceHeaderMapValue, .responseHeaders, ":status", "404") == .ok)
      #expect(harness.header(.responseHeaders, ":status") == "404")
      #expect(harness.header(.requestHeaders, ":method") == "GET", "the request can still be read")
      #expect(harness.edit(.addHeaderMapValue, .requestHeaders, "a", "b") == .badArgument, "but not changed")
      return 0
    }
    try harness.run(.responseHeaders)
    #expect(try harness.reply().edits == ["replace responseHeaders :status=404"])
  }

  @Test func mapsThatAreNotThereAreEmptyAndCannotBeEdited() throws {
    let harness = try Harness()
    _ = try inRequest(harness) {
      for map in MapType.allCases where map != .requestHeaders {
        #expect((try? harness.pairs(map)) == [])
        let (key, size) = harness.guest.put("a")
        #expect(harness.call(.getHeaderMapValue, map.rawValue, key, size, harness.out, harness.out + 4) == .notFound)
        #expect(harness.edit(.addHeaderMapValue, map, "a", "b") == .badArgument)
        #expect(harness.edit(.removeHeaderMapValue, map, "a") == .badArgument)
      }
      #expect(harness.call(.getHeaderMapPairs, 8, harness.out, harness.out + 4) == .badArgument)
      #expect(harness.call(.getHeaderMapSize, 8, harness.out) == .badArgument)
    }
  }

  @Test func anAnswerLargerThanTheBoundCostsItsMessageAndIsLogged() throws {
    let harness = try Harness { $0.maximumReply = 16 << 10 }
    let value = String(repeating: "v", count: 6_000)
    let reply = try inRequest(harness) {
      #expect(harness.edit(.addHeaderMapValue, .requestHeaders, "a", value) == .ok)
      #expect(harness.edit(.addHeaderMapValue, .requestHeaders, "b", value) == .ok)
      #expect(harness.edit(.addHeaderMapValue, .requestHeaders, "c", value) == .ok)
    }
    #expect(reply.edits.count == 2)
    #expect(reply.status == 431)
    #expect(harness.services.logs.contains { $0.level == .warn && $0.message.contains("16384") })
  }

  @Test func aMapNeverOutgrowsItsBound() throws {
    let harness = try Harness { $0.maximumRecord = 8 << 20 }
    let value = String(repeating: "v", count: 100)
    _ = try inRequest(harness) {
      let (key, keySize) = harness.guest.put("x-many")
      let (at, size) = harness.guest.put(value)
      for _ in 0..<4_000 { #expect(harness.call(.addHeaderMapValue, 0, key, keySize, at, size) == .ok) }
      #expect((try? harness.pairs(.requestHeaders).count) == Limits.maximumEditedPairs)
      // Replacing leaves dead bytes, which are squeezed out.
      let (large, largeSize) = harness.guest.put(String(repeating: "w", count: 60_000))
      var refused = false
      for _ in 0..<100 where harness.call(.replaceHeaderMapValue, 0, key, keySize, large, largeSize) != .ok {
        refused = true
      }
      #expect(!refused)
      #expect(harness.header(.requestHeaders, ":method") == "GET")
      #expect(harness.header(.requestHeaders, "x-many")?.count == 60_000)
    }
  }
}
