import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// What a plugin may reach, and what those who are reached are told of it: checked by the front, whatever a worker says.
@Suite(.serialized) struct ReachTests {
  private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

  private func front(_ port: UInt16, upstreams: [String]?) throws -> TestFront {
    try CallsOutHTTPTests.front(.at(port)) { $0.plugins[0].upstreams = upstreams }
  }

  // MARK: Upstreams

  @Test func aPluginCallsWhatItsPolicyLists() throws {
    let upstream = try CallsOutHTTPTests.upstream(Self.ok)
    let front = try front(upstream.port, upstreams: ["app"])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.http(1))
    guard case .http(1, _, "ok", _)? = try worker.waitForEvents(1, of: 1).first else {
      Issue.record("\(worker.callEvents)")
      return
    }
    #expect(try worker.ask(.upstreamHosts, key: "app").status == 0)
  }

  @Test(arguments: [
    CallOperation.http(1, to: "echo"), .grpc(1, "M", message: "m", to: "echo"), .grpc(1, "M", to: "app"),
  ]) func aWorkerThatCallsAnotherUpstreamIsLost(call: CallOperation) throws {
    let upstream = try CallsOutHTTPTests.upstream(Self.ok)
    let front = try front(upstream.port, upstreams: [])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(call)
    let fault = try front.fault(of: worker)
    #expect(fault.reason == .protocolViolation)
    #expect(fault.detail.contains("(upstreams)"), "\(fault.detail)")
    #expect(front.waitForNoCalls())
    #expect(upstream.connectionCount == 0)
  }

  @Test func aWorkerThatAsksForAnotherUpstreamsEndpointsIsLost() throws {
    let front = try front(1, upstreams: ["echo"])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.act(FakeWorker.question(.upstreamHosts, sequence: 1, key: Array("app".utf8)))
    #expect(try front.fault(of: worker).detail.contains("(upstreams)"))
  }

  // MARK: The mark

  @Test func aCallSaysWhoseItIsWhateverThePluginSays() throws {
    let received = Received()
    let upstream = try TestUpstream { peer, _ in
      while true {
        let request = peer.read(until: "0\r\nx-own: t\r\n\r\n")
        guard !request.isEmpty else { return }
        received.add(request)
        peer.send(Self.ok)
      }
    }
    let front = try front(upstream.port, upstreams: nil)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    let forged = [("X-Bulkhead-Plugin", "auth"), ("x_bulkhead_plugin", "auth"), ("X-Bulkhead_Plugin", "auth")]
    worker.call(.http(1, method: "POST", headers: forged, body: "b", trailers: forged + [("x-own", "t")]))
    _ = try worker.waitForEvents(1, of: 1)
    let text = received.text.lowercased()
    #expect(text.contains("\r\nx-bulkhead-plugin: caller\r\n"))
    #expect(!text.contains("auth") && !text.contains("_plugin"), "\(text)")
  }

  @Test func aGRPCCallSaysSoToo() throws {
    let peer = try HTTP2Peer { request in
      let isMarked = request.has("x-bulkhead-plugin: caller") && !request.has("x-bulkhead-plugin: auth")
      return [.headers([(":status", "200"), ("grpc-status", isMarked ? "0" : "3")], end: true)]
    }
    defer { peer.stop() }
    let front = try front(peer.port, upstreams: nil)
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    worker.call(.grpc(2, "M", metadata: [("x-bulkhead-plugin", Array("auth".utf8))]), .close(2))
    #expect(try worker.waitForClose(of: 2).last == .close(2, status: 0, message: ""))
  }

  @Test func noClientAndNoEditSaysThatAPluginCalls() throws {
    let received = Received()
    let upstream = try TestUpstream { peer, _ in
      received.add(peer.read(until: "x-other: 1\r\nx-own: yes\r\n\r\n"))
      peer.send(Self.ok)
    }
    var plugin = FrontBootstrap.Plugin.test("caller", .failClose, [.requestHeaders, .requestTrailers])
    plugin.callbackDeadline = 5_000
    let front = try TestFront(plugins: [plugin], upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let seen = Received()
    let worker = try front.addWorker { callback, _ in
      for line in callback.request + callback.trailers { seen.add("\(line)\n") }
      let map: EditedMap = callback.kind == .requestHeaders ? .requestHeaders : .requestTrailers
      return .goOn([
        (.add, map, "x-bulkhead-plugin", "auth"), (.replace, map, "X-Bulkhead-Plugin", "auth"),
        (.add, map, "x_bulkhead_plugin", "auth"), (.add, map, "x-own", "yes"),
      ])
    }
    let answer = try front.exchange(
      "POST / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nX-Bulkhead-Plugin: auth\r\nx_bulkhead_plugin: auth\r\n"
        + "Transfer-Encoding: chunked\r\n\r\n1\r\nb\r\n0\r\nX-Bulkhead-Plugin: auth\r\nx-other: 1\r\n\r\n")
    #expect(answer.status == 200)
    #expect(received.text.contains("x-other: 1\r\nx-own: yes\r\n\r\n"))
    #expect(worker.seen.count { $0.kind != .streamDone } == 2)
    for text in [received.text, seen.text] { #expect(!text.lowercased().contains("bulkhead"), "\(text)") }
  }

  @Test(arguments: [
    ("auth", "auth"), ("a.b-c", "a.b-c"), ("a b\r\nx: y", "a%20b%0D%0Ax%3A%20y"), ("100%", "100%25"),
    ("ä", "%C3%A4"), ("", ""),
  ]) func aNameIsAlwaysAValidHeader(name: String, value: String) {
    #expect(CallMark(plugin: name).value == value)
    #expect(CallMark(plugin: String(repeating: "x", count: 1_000)).value.utf8.count == CallMark.maximumBytes)
  }

  // MARK: Shares

  @Test(arguments: [false, true]) func pluginsThatHoldAllTheirCallsOpenDoNotDelayAnother(isHTTP2: Bool) throws {
    let arrived = Counter()
    // What is asked for /hold is never answered.
    let http1 = try TestUpstream { peer, _ in
      while true {
        let request = peer.read(until: "\r\n\r\n")
        guard !request.isEmpty else { return }
        arrived.add(1)
        if request.contains("/hold") { _ = peer.read(until: "never") } else { peer.send(Self.ok) }
      }
    }
    let http2 = try HTTP2Peer(maximumStreams: 1) { request in
      arrived.add(1)
      return request.has(":path: /hold") ? [] : [.headers([(":status", "204")], end: true)]
    }
    defer { http2.stop() }
    let port = isHTTP2 ? http2.port : http1.port
    let names = ["a", "b", "c", "d", "e", "auth"]
    let front = try TestFront(
      plugins: names.map { .test($0, .failClose, [.httpCallResponse]) },
      upstreams: [.init(name: "app", kind: .endpoints(["127.0.0.1:\(port)"]), isHTTP2: isHTTP2)]
    ) { $0.bounds.upstreamConnections = 12 }
    defer { front.stop() }
    for plugin in UInt32(0)..<5 {
      let worker = try front.addWorker(plugin: plugin) { _, _ in .goOn() }
      for token in UInt32(1)...20 { worker.call(.http(token, path: "/hold", timeout: 60_000)) }
    }
    // Of twelve places, one is kept for each, and six are for the first that come.
    try waitUntil { arrived.value == 11 }
    #expect(arrived.value == 11)
    let worker = try front.addWorker(plugin: 5) { _, _ in .goOn() }
    for token in UInt32(1)...5 { worker.call(.http(token, path: "/check")) }
    for token in UInt32(1)...5 {
      guard case .http(_, headers: let headers, _, _)? = try worker.waitForEvents(1, of: token).first,
        !headers.isEmpty
      else {
        Issue.record("call \(token) has no answer: \(worker.callEvents)")
        return
      }
    }
    #expect(front.callCounts.calls == 100)
    #expect(front.callCounts.connections <= 12)
  }

  @Test func callsThatWaitGoOnOnceOthersAreOver() throws {
    let upstream = try TestUpstream { peer, _ in
      while !peer.read(until: "\r\n\r\n").isEmpty { peer.send(Self.ok) }
    }
    let names = ["a", "b", "c"]
    let front = try TestFront(
      plugins: names.map { .test($0, .failClose, [.httpCallResponse]) }, upstreams: [.at(upstream.port)]
    ) { $0.bounds.upstreamConnections = 4 }
    defer { front.stop() }
    let workers = try names.indices.map { try front.addWorker(plugin: UInt32($0)) { _, _ in .goOn() } }
    for token in UInt32(1)...50 { for worker in workers { worker.call(.http(token)) } }
    for worker in workers {
      for token in UInt32(1)...50 { #expect(try worker.waitForEvents(1, of: token) != [.failed(token)]) }
    }
    #expect(upstream.connectionCount <= 4)
    #expect(front.waitForNoCalls())
  }
}
