import BulkheadCore
import BulkheadProxyWasm
import BulkheadWire
import ProxyWasmABI
import Testing

/// A plugin that answers and pauses, as every SDK's examples do: the client gets an answer, whatever is wrong with that one.
@Suite struct LocalResponseTests {
  /// What `proxy_send_local_response` is asked for.
  struct Wish: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var status: UInt32 = 403
    var headers: [(String, String)] = []
    /// Instead of serialized pairs.
    var rawHeaders: [UInt8]?
    var isOutside = false
    var expectedStatus: UInt32 = 403
    var expectedHeaders: [String] = []
    var answers = Status.ok
  }

  static let wishes = [
    Wish(
      testDescription: "a value with a line feed", headers: [("www-authenticate", "Basic realm=x\n")],
      expectedHeaders: ["www-authenticate=Basic realm=x"]),
    Wish(testDescription: "a value with CR LF", headers: [("x-why", "a\r\nb: c")], expectedHeaders: ["x-why=a  b: c"]),
    Wish(testDescription: "a value with NUL", headers: [("x-why", "a\0b")], expectedHeaders: ["x-why=a b"]),
    Wish(
      testDescription: "a name with a space", headers: [("bad name", "1"), ("good", "2")], expectedHeaders: ["good=2"]),
    Wish(testDescription: "an empty name", headers: [("", "1")]),
    Wish(testDescription: "no pairs", rawHeaders: [9, 9, 9]),
    Wish(testDescription: "status 199", status: 199, expectedStatus: 500),
    Wish(testDescription: "status 600", status: 600, expectedStatus: 500),
    Wish(testDescription: "status 0", status: 0, expectedStatus: 500),
    Wish(testDescription: "a body outside memory", isOutside: true, expectedStatus: 500, answers: .invalidMemoryAccess),
  ]

  @Test(arguments: wishes) func anAnswerThatCannotGoAsItIsGoesOtherwise(wish: Wish) throws {
    let harness = try Harness()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      var writer = WireWriter()
      writer.pairs(wish.headers)
      let (headers, size) = harness.guest.put(wish.rawHeaders ?? writer.array)
      let length: UInt32 = wish.isOutside ? .max : 0
      #expect(
        harness.call(.sendLocalResponse, wish.status, 0, 0, 0, length, headers, size, .max) == wish.answers)
      return 1
    }
    try harness.run(.requestHeaders)
    let reply = try harness.reply()
    #expect(reply.flags == .localResponse, "and nothing waits")
    #expect(reply.status == wish.expectedStatus)
    #expect(reply.headers == wish.expectedHeaders)
    #expect(!harness.services.logs.isEmpty, "the log says what was wrong")
  }

  @Test func anAnswerInTheResponseCallbacksOfTheFirstTakesItsPlace() throws {
    let harness = try Harness()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.call(.sendLocalResponse, 401, 0, 0, 0, 0, 0, 0, .max) == .ok)
      return 1
    }
    harness.guest.callbacks[.responseHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.call(.sendLocalResponse, 503, 0, 0, 0, 0, 0, 0, .max) == .ok)
      return 1
    }
    try harness.run(.requestHeaders)
    try harness.run(.responseHeaders)
    let replies = try harness.replies()
    #expect(replies.map(\.flags) == [.localResponse, .localResponse])
    #expect(replies.map(\.status) == [401, 503])
  }

  @Test func aCallbackOfARequestThatWasAnsweredBeforeDoesNotWait() throws {
    let harness = try Harness()
    try harness.run(.requestHeaders, end: false)
    harness.guest.callbacks[.tick] = { [unowned harness] _, _, _ in
      #expect(harness.call(.setEffectiveContext, 2) == .ok)
      #expect(harness.call(.sendLocalResponse, 403, 0, 0, 0, 0, 0, 0, .max) == .ok)
      return 0
    }
    try harness.host.tick()
    harness.guest.callbacks[.requestBody] = { [unowned harness] _, _, _ in
      #expect(harness.call(.sendLocalResponse, 404, 0, 0, 0, 0, 0, 0, .max) == .ok)
      return 1
    }
    try harness.run(.requestBody, text: "x")
    #expect(try harness.replies().map(\.flags) == [[], .localResponse, []])
  }

  @Test func aPluginThatMayNotAnswerCannotHoldTheClientUpInstead() throws {
    let harness = try Harness { $0.capabilities = ["proxy_on_request_headers"] }
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.call(.sendLocalResponse, 403, 0, 0, 0, 0, 0, 0, .max) == .internalFailure)
      return 1
    }
    try harness.run(.requestHeaders)
    let reply = try harness.reply()
    #expect(reply.flags == .localResponse && reply.status == 500)
  }

  @Test func aConnectionThatIsAnsweredIsClosed() throws {
    let harness = try Harness()
    harness.guest.callbacks[.downstreamData] = { [unowned harness] _, _, _ in
      #expect(harness.call(.sendLocalResponse, 403, 0, 0, 0, 0, 0, 0, .max) == .ok)
      return 1
    }
    try harness.run(.newConnection, first: true, end: false)
    try harness.run(.downstreamData, text: "a")
    #expect(try harness.replies().last?.flags == .closeDownstream)
  }
}
