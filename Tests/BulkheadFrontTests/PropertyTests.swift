import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// What plugins are told of a stream, and tell each other.
@Suite(.serialized) struct PropertyTests {
  @Test func whatAPluginSetsIsSeenByThePluginsBehindIt() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP), .test("b", .failClose, .allHTTP)])
    defer { front.stop() }
    let first = try front.addWorker(plugin: 0) { callback, _ in
      callback.kind == .requestHeaders ? .ops(.property("who\0am", "i"), .property("n", "1")) : .goOn()
    }
    let second = try front.addWorker(plugin: 1) { callback, _ in
      callback.kind == .requestBody ? .ops(.property("n", "2")) : .goOn()
    }
    #expect(try front.post("hello").status == 200)
    try first.waitForSeen(1) { $0.kind == .streamDone }
    try second.waitForSeen(1) { $0.kind == .streamDone }
    #expect(second.seen[0].properties.contains("who.am=i") && second.seen[0].properties.contains("n=1"))
    #expect(second.seen(.requestBody)[0].properties.isEmpty)
    #expect(first.seen(.responseHeaders)[0].properties.contains("n=2"))
    #expect(first.seen(.responseBody)[0].properties.isEmpty)
    #expect(first.seen.last?.properties.contains("who.am=i") == true)
    // The next request begins without.
    #expect(try front.get().status == 200)
    try second.waitForSeen(2) { $0.kind == .streamDone }
    #expect(second.seen(.requestHeaders).last?.properties.contains("n=1") == true)
    #expect(second.seen(.requestHeaders).last?.properties.contains("n=2") == false)
  }

  @Test func eachPluginOfAChainIsToldWhatHoldsAsItsTurnComes() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP), .test("b", .failClose, .allHTTP)])
    defer { front.stop() }
    let first = try front.addWorker(plugin: 0) { callback, _ in
      callback.kind == .requestHeaders && callback.request.contains(":path=/2")
        ? .goOn([(.replace, .requestHeaders, "x-request-id", "another")]) : .goOn()
    }
    let second = try front.addWorker(plugin: 1) { callback, _ in
      callback.kind == .responseHeaders ? .goOn([(.replace, .responseHeaders, ":status", "418")]) : .goOn()
    }
    func told(_ worker: FakeWorker, _ kind: CallbackKind, _ name: String) -> String? {
      worker.seen(kind).last?.properties.first { $0.hasPrefix("\(name)=") }
    }
    #expect(try front.get("/1").status == 418)
    // The same, where nothing has changed.
    #expect(told(first, .requestHeaders, "request.id") != nil)
    #expect(told(first, .requestHeaders, "request.id") == told(second, .requestHeaders, "request.id"))
    #expect(first.seen(.requestHeaders)[0].properties == second.seen(.requestHeaders)[0].properties)
    // The response comes back by the second one first.
    #expect(told(second, .responseHeaders, "response.code") != nil)
    #expect(told(first, .responseHeaders, "response.code") != told(second, .responseHeaders, "response.code"))
    #expect(try front.get("/2").status == 418)
    #expect(told(second, .requestHeaders, "request.id") == "request.id=another")
    #expect(told(first, .requestHeaders, "request.id") != "request.id=another")
    try first.waitForSeen(2) { $0.kind == .streamDone }
    try second.waitForSeen(2) { $0.kind == .streamDone }
    let ends = [first, second].map { $0.seen(.streamDone).map(\.properties) }
    #expect(ends[0] == ends[1] && ends[0][0] != ends[0][1])
  }

  @Test func propertiesBeyondTheirBoundAreLeftOut() throws {
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP), .test("b", .failClose, .allHTTP)])
    defer { front.stop() }
    try front.addWorker(plugin: 0) { callback, _ in
      guard callback.kind == .requestHeaders else { return .goOn() }
      return .reply(
        [], (0..<300).map { .property("p\($0)", "v") } + [.property("p0", String(repeating: "x", count: 70_000 >> 2))])
    }
    let second = try front.addWorker(plugin: 1) { _, _ in .goOn() }
    #expect(try front.get().status == 200)
    let set = second.seen[0].properties.filter { $0.hasPrefix("p") }
    #expect(set.count == 256)
  }

  @Test func theUpstreamAndWhyItFailedAreTold() throws {
    let upstream = try answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    let front = try TestFront(
      plugins: [.test("a", .failClose, .allHTTP)], upstreams: [.at(upstream.port), .at(1, name: "gone")])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    #expect(try front.get().status == 200)
    #expect(try front.get(listener: 1).status == 502)
    try worker.waitForSeen(2) { $0.kind == .streamDone }
    let good = worker.seen(.responseHeaders)[0].properties
    #expect(good.contains("upstream.address=127.0.0.1:\(upstream.port)"))
    #expect(good.contains { $0.hasPrefix("upstream.local_address=127.0.0.1:") })
    #expect(good.contains("response.code_details=via_upstream"))
    let bad = worker.seen(.responseHeaders)[1].properties
    #expect(bad.contains { $0.hasPrefix("upstream.transport_failure_reason=") && $0.contains("ECONNREFUSED") })
    #expect(bad.contains("response.code_details=upstream_failure"))
    #expect(!bad.contains { $0.hasPrefix("upstream.address=") })
  }

  @Test func aPluginChoosesAnEndpointOfTheUpstream() throws {
    let first = try answering("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1")
    let second = try answering("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2")
    let both = Upstream(
      name: "app", kind: .endpoints(["127.0.0.1:\(first.port)", "127.0.0.1:\(second.port)"]))
    let front = try TestFront(plugins: [.test("a", .failClose, .allHTTP)], upstreams: [both])
    defer { front.stop() }
    let port = second.port
    try front.addWorker { callback, _ in
      guard callback.kind == .requestHeaders else { return .goOn() }
      return callback.request.contains(":path=/2") ? .ops(.host("127.0.0.1:\(port)")) : .ops(.host("10.0.0.1:1"))
    }
    for _ in 0..<5 { #expect(try front.get("/2").body == "2") }
    // One that is none of the upstream's is not used.
    #expect(Set(try (0..<4).map { _ in try front.get("/any").body }) == ["1", "2"])
  }
}
