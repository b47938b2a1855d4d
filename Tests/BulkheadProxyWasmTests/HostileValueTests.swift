import BulkheadCore
import BulkheadProxyWasm
import BulkheadWire
import ProxyWasmABI
import Testing

/// Edits with what a client may have put into a value: the plugin is answered OK, since its SDK may end it for anything
/// else, and nothing that may not go on the wire goes there.
@Suite struct HostileValueTests {
  struct Edit: Sendable, CustomTestStringConvertible {
    var name: String
    var value: String
    /// What goes to the front; nil: nothing.
    var sent: String?
    /// The status of the stream's answer; nil where it goes on.
    var answer: UInt32?
    var testDescription: String { "\(name.debugDescription): \(value.debugDescription)" }

    init(_ name: String, _ value: String, _ sent: String?, answer: UInt32? = nil) {
      (self.name, self.value, self.sent, self.answer) = (name, value, sent, answer)
    }
  }

  static let requestEdits = [
    Edit("x-a", "a\r\nb", "a  b"), Edit("x-a", "\na\0", "a"), Edit("x-a", "\u{1}\u{7F}b", "b"), Edit("x-a", "\r\n", ""),
    Edit("x-a", "tab\tstays", "tab\tstays"),
    Edit("x a", "1", nil), Edit("", "1", nil), Edit("x\r\ny", "1", nil), Edit("x:", "1", nil),
    Edit(":path", "/a b\r\n", "/a%20b%0D%0A"), Edit(":path", "/ä", "/%C3%A4"),
    Edit(":path", "", nil, answer: 500), Edit(":path", "a", nil, answer: 500),
    Edit(":method", "GET /", nil, answer: 500), Edit(":method", "CONNECT", nil, answer: 500),
    Edit(":authority", "a b", nil, answer: 500), Edit(":authority", "", nil, answer: 500),
    Edit("host", "a\r\nb", nil, answer: 500),
    Edit(":path", "/admin#x", "/admin%23x"), Edit(":authority", "u@h", nil, answer: 500),
    Edit(":authority", "h/evil", nil, answer: 500), Edit(":authority", "h:x", nil, answer: 500),
    Edit(":scheme", "gopher", nil), Edit(":status", "200", nil), Edit(":nothing", "1", nil),
  ]

  @Test(arguments: requestEdits) func ofARequest(edit: Edit) throws {
    for function in [Hostcall.addHeaderMapValue, .replaceHeaderMapValue, .setHeaderMapPairs] {
      let harness = try Harness()
      harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
        if function == .setHeaderMapPairs {
          var writer = WireWriter()
          writer.pairs([(edit.name, edit.value)])
          let (at, size) = harness.guest.put(writer.array)
          #expect(harness.call(function, 0, at, size) == .ok)
        } else {
          #expect(harness.edit(function, .requestHeaders, edit.name, edit.value) == .ok)
        }
        return 1
      }
      try harness.run(.requestHeaders)
      let reply = try harness.reply()
      #expect(reply.status == edit.answer)
      #expect(reply.flags == (edit.answer == nil ? .pause : .localResponse))
      let sent = edit.sent.map { "\(edit.name == "host" ? ":authority" : edit.name)=\($0)" }
      if function == .setHeaderMapPairs {
        guard edit.answer == nil else { continue }
        let block = reply.edits.first?.split(separator: " ", maxSplits: 2).last?.dropFirst()
        let pairs = block?.split(separator: "&").map(String.init)
        #expect(pairs?.contains { $0 == sent } ?? false == (sent != nil))
      } else {
        #expect(
          reply.edits.map { $0.split(separator: " ", maxSplits: 2).last.map(String.init) } == (sent.map { [$0] } ?? []))
      }
      if edit.sent != edit.value { #expect(!harness.services.logs.isEmpty, "the log says what became of it") }
    }
  }

  static let responseEdits = [
    Edit(":status", "99", nil, answer: 500), Edit(":status", "abc", nil, answer: 500), Edit(":path", "/", nil),
    Edit("location", "/a\r\nset-cookie: b=c", "/a  set-cookie: b=c"),
  ]

  @Test(arguments: responseEdits) func ofAResponse(edit: Edit) throws {
    let harness = try Harness()
    harness.guest.callbacks[.responseHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.edit(.replaceHeaderMapValue, .responseHeaders, edit.name, edit.value) == .ok)
      return 0
    }
    try harness.run(.requestHeaders)
    try harness.run(.responseHeaders)
    let reply = try #require(try harness.replies().last)
    #expect(reply.status == edit.answer)
    #expect(reply.edits == (edit.sent.map { ["replace responseHeaders \(edit.name)=\($0)"] } ?? []))
  }

  @Test(arguments: [":method", ":path", ":authority", ":scheme"]) func aPseudoHeaderStays(name: String) throws {
    let harness = try Harness()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.edit(.removeHeaderMapValue, .requestHeaders, name) == .ok)
      #expect(harness.header(.requestHeaders, name) != nil)
      return 0
    }
    try harness.run(.requestHeaders)
    #expect(try harness.reply().edits.isEmpty)
  }

  @Test func anEditForWhichThereIsNoRoomCostsItsMessage() throws {
    let harness = try Harness { $0.maximumMapBytes = 4_096 }
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      let large = String(repeating: "v", count: 5_000)
      #expect(harness.edit(.addHeaderMapValue, .requestHeaders, "x-large", large) == .ok)
      return 1
    }
    try harness.run(.requestHeaders)
    let reply = try harness.reply()
    #expect(reply.flags == .localResponse && reply.status == 431)
  }
}
