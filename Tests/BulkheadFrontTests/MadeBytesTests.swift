import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// What plugins make themselves and nobody has taken yet is bounded in sum.
@Suite(.serialized) struct MadeBytesTests {
  private static let large = String(repeating: "x", count: 20_000)

  /// Has the first plugin have all but that many of the bytes under way that it may have.
  private func leave(_ bytes: Int, _ front: TestFront) throws {
    let loop = try #require(front.front.loops.first)
    try loop.eventLoop.submit { loop.engine.chain.plugins.first.map { $0.made.bytes = $0.made.maximum - bytes } }
      .wait()
  }

  private func underWay(_ front: TestFront) throws -> Int {
    let loop = try #require(front.front.loops.first)
    return try loop.eventLoop.submit { loop.engine.chain.plugins.first?.made.bytes ?? -1 }.wait()
  }

  private func expectNothingUnderWay(_ front: TestFront) throws {
    try waitUntil { (try? underWay(front)) == 0 }
    #expect(try underWay(front) == 0)
  }

  @Test func whatIsCountedIsGivenBackAndNothingBeyondTheBoundIsCounted() throws {
    let front = try TestFront(plugins: [.test("a")])
    defer { front.stop() }
    let loop = try #require(front.front.loops.first)
    try loop.eventLoop.submit {
      let plugin = try #require(loop.engine.chain.plugins.first)
      let bound = plugin.made.maximum
      var first = MadeBytes()
      var second = MadeBytes()
      let little = first.charge(plugin, FrontSettings.coalesced)
      #expect(little)
      #expect(first.isEmpty, "little is not counted")
      let counted = [
        first.charge(plugin, bound - 100_000), second.charge(plugin, 60_000), second.charge(plugin, 40_000),
      ]
      #expect(counted == [true, true, true])
      let beyond = second.charge(plugin, 20_000)
      #expect(!beyond)
      #expect(plugin.made.bytes == bound)
      second.settle()
      second.settle()
      #expect(plugin.made.bytes == bound - 100_000)
      first.settle()
      #expect(plugin.made.bytes == 0)
    }.wait()
  }

  @Test func anAnswerBeyondTheBoundIsOneThatNamesTheBound() throws {
    let front = try TestFront(plugins: [.test("baker")])
    defer { front.stop() }
    try front.addWorker { callback, _ in
      callback.kind == .requestHeaders
        ? .respond(status: 403, body: callback.request.contains(":path=/large") ? Self.large : "no") : .goOn()
    }
    #expect(try front.get("/large").body == Self.large)
    try expectNothingUnderWay(front)
    try leave(19_999, front)
    let refused = try front.get("/large")
    #expect(refused.status == 503)
    #expect(refused.body.contains("plugin baker has made more of answers and bytes than its bound of 67108864 bytes"))
    #expect(try front.get("/").status == 403, "a short one is within what any connection may have waiting")
    try leave(20_000, front)
    #expect(try front.get("/large").status == 403)
  }

  @Test(arguments: [EditedBuffer.requestBody, .responseBody])
  func aBodyThatThePluginMakesLongerIsCounted(buffer: EditedBuffer) throws {
    let front = try TestFront(plugins: [.test("baker", .failClose, .allHTTP)])
    defer { front.stop() }
    let kind: CallbackKind = buffer == .requestBody ? .requestBody : .responseBody
    try front.addWorker { callback, index in
      callback.kind == kind && !callback.payload.isEmpty ? .ops(.text(buffer, 0, 0, Self.large)) : .goOn()
    }
    let response = try front.post("hello")
    #expect(response.status == 200)
    #expect(buffer == .requestBody || response.body.utf8.count > 20_000)
    try expectNothingUnderWay(front)
    try leave(19_999, front)
    let refused = try front.post("hello")
    #expect(refused.status == 503)
    #expect(refused.body.contains("has made more of answers and bytes than its bound"))
  }

  @Test func bytesOfAConnectionThatThePluginMakesAreCounted() throws {
    let front = try TestFront.tcp(plugins: [.network("baker", .failClose, [.downstreamData])])
    defer { front.stop() }
    try front.addWorker { _, _ in .ops(.text(.downstreamData, 0, 0, Self.large)) }
    let client = try front.connect()
    client.send("end")
    #expect(client.read(until: "end") == Self.large + "end")
    try expectNothingUnderWay(front)
    try leave(19_999, front)
    client.send("end")
    #expect(client.readToEnd() == "")
    #expect(try underWay(front) == ChainLimits.madeBytes - 19_999)
  }
}
