import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// Trailers in the chain.
@Suite(.serialized) struct TrailerTests {
  private func upstream(_ trailers: String = "X-Up: 1\r\n") throws -> TestUpstream {
    try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(["body"], trailers: trailers))
    }
  }

  @Test func trailersAreReadAndEdited() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in
      callback.kind == .requestTrailers
        ? .ops(
          .edit(.replace, .requestTrailers, "x-sum", "2"), .edit(.add, .requestTrailers, "x-new", "3"),
          .edit(.remove, .requestTrailers, "x-gone", ""), .edit(.add, .requestTrailers, ":path", "/no"),
          .edit(.add, .requestTrailers, "content-length", "9"))
        : .goOn()
    }
    let response = try front.postChunks(["hello"], trailers: "X-Sum: 1\r\nX-Gone: 1\r\n")
    #expect(response.body.contains("\"trailers\": {\n    \"x-sum\": \"2\",\n    \"x-new\": \"3\"\n  }"))
    #expect(worker.seen(.requestBody).map(\.isEnd) == [false])
    #expect(worker.seen(.requestTrailers).map(\.trailers) == [["x-sum=1", "x-gone=1"]])
  }

  @Test func trailersOfTheResponseAreReadAndEdited() throws {
    let upstream = try upstream()
    let front = try TestFront(
      plugins: [.test("a", .failClose, [.responseTrailers, .log])], upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in
      callback.kind == .responseTrailers ? .ops(.edit(.add, .responseTrailers, "x-more", "2")) : .goOn()
    }
    let response = try front.get()
    #expect(response.text.hasSuffix("0\r\nx-up: 1\r\nx-more: 2\r\n\r\n"))
    #expect(worker.seen(.responseTrailers).map(\.trailers) == [["x-up=1"]])
    #expect(worker.seen(.responseTrailers)[0].response.first == ":status=200")
  }

  @Test func trailersAreMadeAtTheEndOfABodyAndTheMessageIsChunked() throws {
    let upstream = try answering("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody")
    let front = try TestFront(
      plugins: [.test("a", .failClose, .allHTTP), .test("b", .failClose, .allHTTP)], upstreams: [.at(upstream.port)])
    defer { front.stop() }
    // The response passes b before a: a sees what b made.
    let first = try front.addWorker(plugin: 0) { _, _ in .goOn() }
    try front.addWorker(plugin: 1) { callback, _ in
      callback.kind == .responseBody && callback.isEnd
        ? .ops(.edit(.add, .responseTrailers, "x-made", "1")) : .goOn()
    }
    let response = try front.get()
    #expect(response.has("transfer-encoding: chunked"))
    #expect(!response.head.contains("content-length"))
    #expect(response.text.hasSuffix("4\r\nbody\r\n0\r\nx-made: 1\r\n\r\n"))
    #expect(first.seen(.responseTrailers).map(\.trailers) == [["x-made=1"]])
    #expect(first.seen(.responseBody).map(\.isEnd) == [false])
    // A client of HTTP/1.0 gets none.
    let old = try front.exchange("GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    #expect(old.body == "body")
  }

  @Test func aPauseAtTheTrailersHoldsTheBodyThatWasPausedToo() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in
      callback.kind == .requestBody || callback.kind == .requestTrailers ? .pause : .goOn()
    }
    let client = try TestClient(port: front.ports[0])
    client.send(
      "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunked(["hello"], trailers: "X-Sum: 1\r\n"))
    try worker.waitForSeen(1) { $0.kind == .requestTrailers }
    worker.act(
      stream: worker.seen[0].stream, flags: .continueRequest,
      [.text(.requestBody, 0, 5, "other"), .edit(.add, .requestTrailers, "x-late", "2")])
    let response = TestResponse(client.readToEnd())
    #expect(response.body.contains(#""text": "other""#))
    #expect(response.body.contains("\"x-sum\": \"1\",\n    \"x-late\": \"2\""))
  }

  @Test func aPluginThatWaitsForTheEndAndKnowsNoTrailersIsToldOfTheEnd() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, [.requestBody])])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in callback.isEnd ? .goOn() : .pause }
    let response = try front.postChunks(["hello"], trailers: "X-Sum: 1\r\n")
    #expect(response.body.contains(#""text": "hello""#))
    #expect(response.body.contains(#""x-sum": "1""#))
    #expect(worker.seen(.requestBody).map(\.text) == ["hello", ""])
  }

  @Test func trailersReachTheUpstreamOverHTTP() throws {
    let upstream = try RecordingUpstream(until: "x-sum: 7\r\n\r\n")
    let front = try TestFront(
      plugins: [.test("a", .failClose, .allHTTP)], upstreams: [.at(upstream.upstream.port)])
    defer { front.stop() }
    try front.addWorker { callback, _ in
      callback.kind == .requestBody && callback.isEnd ? .ops(.edit(.add, .requestTrailers, "x-sum", "7")) : .goOn()
    }
    #expect(try front.post("hello").status == 200)
    #expect(upstream.text.contains("transfer-encoding: chunked\r\n"))
    #expect(!upstream.text.contains("content-length"))
    #expect(upstream.text.hasSuffix("\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n"))
  }

  @Test(arguments: [CallbackSet.log, .responseTrailers])
  func trailersThatAreNoTextPassAsTheyAre(callbacks: CallbackSet) throws {
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      peer.send(
        Array("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Latin: caf".utf8)
          + [0xE9, 0xFF] + Array("\r\n\r\n".utf8))
    }
    let front = try TestFront(plugins: [.test("a", .failClose, callbacks)], upstreams: [.at(upstream.port)])
    defer { front.stop() }
    try front.addWorker { _, _ in .goOn() }
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    var answer: [UInt8] = []
    while true {
      let some = client.readSome()
      if some.isEmpty { break }
      answer += some
    }
    #expect(
      answer.suffix(20) == (Array("\r\nx-latin: caf".utf8) + [0xE9, 0xFF] + Array("\r\n\r\n".utf8))[...].suffix(20))
  }

  @Test func sizesAndStatusOfTrailersAreInTheLog() throws {
    let upstream = try upstream("Grpc-Status: 7\r\n")
    let front = try TestFront(
      plugins: [.test("a", .failClose, [.responseTrailers, .log])], upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    #expect(try front.get().status == 200)
    try worker.waitForSeen(1) { $0.kind == .streamDone }
    let properties = worker.seen.last?.properties ?? []
    #expect(properties.contains("response.grpc_status=\u{7}\0\0\0\0\0\0\0"))
    #expect(properties.contains("upstream.address=127.0.0.1:\(upstream.port)"))
  }
}
