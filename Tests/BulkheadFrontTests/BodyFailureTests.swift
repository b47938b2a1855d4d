import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// The failure table of the design for plugins that look at bodies.
@Suite(.serialized) struct BodyFailureTests {
  private static let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"

  private func expect(_ response: TestResponse, _ strategy: FailStrategy, _ text: String = "hello") {
    if strategy == .failOpen {
      #expect(response.status == 200)
      #expect(response.body.contains("\"text\": \"\(text)\""))
    } else {
      #expect(response.status == 503)
      #expect(response.body.contains("plugin guard is unavailable"))
    }
  }

  @Test(arguments: FailStrategy.allCases, [CallbackKind.requestBody, .requestTrailers, .responseBody])
  func theStreamThatTheWorkerDiedOnFailsByItsStrategy(strategy: FailStrategy, kind: CallbackKind) throws {
    let front = try TestFront(plugins: [.test("guard", strategy, .allHTTP), .test("next", .failClose, .allHTTP)])
    defer { front.stop() }
    let worker = try front.addWorker(plugin: 0) { callback, _ in callback.kind == kind ? .die : .goOn() }
    let next = try front.addWorker(plugin: 1) { _, _ in .goOn() }
    expect(try front.postChunks(["hello"], trailers: "X-Sum: 1\r\n"), strategy)
    try front.waitForEvent { $0 == .workerGone(worker: worker.number) }
    if strategy == .failOpen { #expect(next.bytes(.requestBody) == "hello") }
    // The replacement serves as if nothing had been, on a connection that stays.
    try front.addWorker(plugin: 0) { _, _ in .goOn() }
    let client = try TestClient(port: front.ports[0])
    for _ in 0..<3 {
      client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nagain")
      #expect(client.read(until: "\n}\n").contains(#""text": "again""#))
    }
  }

  @Test(arguments: FailStrategy.allCases)
  func whatADeadPluginHadPausedPassesAsItCameOrNotAtAll(strategy: FailStrategy) throws {
    let front = try TestFront(plugins: [.test("guard", strategy, .allHTTP)])
    defer { front.stop() }
    // It takes everything apart while it pauses.
    let worker = try front.addWorker { callback, _ in
      callback.kind == .requestBody ? .pausing(.text(.requestBody, 0, 1 << 20, "")) : .goOn()
    }
    let client = try TestClient(port: front.ports[0])
    client.send(Self.head + "Content-Length: 8\r\n\r\nhel")
    try worker.waitForSeen(1) { $0.kind == .requestBody }
    client.send("lo yo")
    try worker.waitForSeen(1) { $0.kind == .requestBody && $0.isEnd }
    worker.die()
    expect(TestResponse(client.readToEnd()), strategy, "hello yo")
  }

  @Test(arguments: FailStrategy.allCases)
  func aCallbackForABodyPastItsDeadlineFailsTheStream(strategy: FailStrategy) throws {
    let front = try TestFront(plugins: [.test("guard", strategy, .allHTTP, deadline: 60)])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in callback.kind == .requestBody ? .hang : .goOn() }
    expect(try front.post("hello"), strategy)
    #expect(try front.fault(of: worker).reason == .deadline)
    worker.die()
  }

  @Test(arguments: [FailStrategy.failOpen, .failClose])
  func aResponseWhoseHeadHasLeftGoesOnOrIsReset(strategy: FailStrategy) throws {
    let gate = Gate()
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
      gate.pass()
      peer.send("after")
    }
    let front = try TestFront(
      plugins: [.test("guard", strategy, .allHTTP)], upstreams: [.at(upstream.port)])
    defer { front.stop() }
    let worker = try front.addWorker { _, _ in .goOn() }
    let client = try TestClient(port: front.ports[0])
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    #expect(client.read(until: "first").contains("HTTP/1.1 200"))
    worker.die()
    try front.waitForEvent { $0 == .workerGone(worker: worker.number) }
    gate.open()
    #expect(client.readToEnd() == (strategy == .failOpen ? "after" : ""))
  }

  @Test(arguments: FailStrategy.allCases, [CallbackKind.requestBody, .responseBody])
  func aBodyNewToTheWorkerGoesToTheReplacement(strategy: FailStrategy, kind: CallbackKind) throws {
    let front = try TestFront(
      plugins: [.test("guard", strategy, kind == .requestBody ? .requestBody : .responseBody, admission: 60_000)])
    defer { front.stop() }
    let client = try TestClient(port: front.ports[0])
    client.send(Self.head + "Content-Length: 5\r\n\r\nhello")
    for _ in 0..<4 {
      let worker = try front.addWorker { _, _ in .dieUnseen }
      try front.waitForEvent { $0 == .workerGone(worker: worker.number) }
    }
    let replacement = try front.addWorker { _, _ in .goOn() }
    expect(TestResponse(client.readToEnd()), .failOpen)
    #expect(replacement.seen.first?.kind == kind)
    #expect(replacement.seen.first?.flags.contains(.firstOfStream) == true)
    #expect(replacement.seen.last { $0.kind == kind }?.isEnd == true)
    #expect(replacement.bytes(kind).contains("hello"))
  }

  @Test(arguments: FailStrategy.allCases)
  func withoutAWorkerTheAdmissionWaitDecides(strategy: FailStrategy) throws {
    let front = try TestFront(plugins: [.test("guard", strategy, [.requestBody, .responseBody], admission: 80)])
    defer { front.stop() }
    expect(try front.post("hello"), strategy)
    try front.command(.pluginState(plugin: 0, state: .quarantined))
    expect(try front.post("hello"), strategy)
  }

  @Test(arguments: [FailStrategy.failOpen, .failClose])
  func aSpliceOfABufferThatThePluginHasNothingOfBreaksTheProtocol(strategy: FailStrategy) throws {
    let front = try TestFront(plugins: [.test("guard", strategy, [.requestHeaders, .requestBody])])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in
      callback.kind == .requestBody ? .ops(.text(.responseBody, 0, 0, "x")) : .goOn()
    }
    expect(try front.post("hello"), strategy)
    #expect(try front.fault(of: worker).reason == .protocolViolation)
  }

  @Test func aClientThatGoesAwayWithAPausedBodyLeavesNothingBehind() throws {
    let front = try TestFront(plugins: [.test("guard", .failClose, .allHTTP)])
    defer { front.stop() }
    let worker = try front.addWorker { callback, _ in callback.kind == .requestBody ? .pause : .goOn() }
    do {
      let client = try TestClient(port: front.ports[0])
      client.send(Self.head + "Content-Length: 10\r\n\r\nhello")
      try worker.waitForSeen(1) { $0.kind == .requestBody }
    }
    try worker.waitForSeen(1) { $0.kind == .streamDone }
    worker.act(stream: worker.seen[0].stream, flags: .continueRequest, [.text(.requestBody, 0, 5, "late")])
    #expect(try front.get().status == 200)
    #expect(front.events.allSatisfy { if case .workerFault = $0 { false } else { true } })
  }

  @Test func manyBodiesAtOnceSurviveWorkersThatDie() throws {
    let front = try TestFront(plugins: [.test("guard", .failOpen, .allHTTP)], eventLoops: 2)
    defer { front.stop() }
    let done = Counter()
    let good = Counter()
    let port = front.ports[0]
    for number in 0..<8 {
      thread {
        for _ in 0..<40 {
          guard let client = try? TestClient(port: port) else { continue }
          let body = String(repeating: "\(number)", count: 20_000)
          client.send(Self.head + "Content-Length: \(body.utf8.count)\r\n\r\n" + body)
          let text = client.readToEnd()
          if text.hasPrefix("HTTP/1.1 200"), text.contains(body) { good.add(1) }
        }
        done.add(1)
      }
    }
    for _ in 0..<6 {
      try front.addWorker { callback, index in
        index > 60 && callback.kind == .requestBody
          ? .die : index % 3 == 0 ? .reply([.pause, .continueRequest, .continueResponse], []) : .goOn()
      }
    }
    try front.addWorker { _, _ in .goOn() }
    try waitUntil { done.value == 8 }
    #expect(good.value == 320)
  }
}
