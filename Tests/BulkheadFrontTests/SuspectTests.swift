import BulkheadCore
import BulkheadTestSupport
import BulkheadWire
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// The lane for suspects as the front keeps it.
@Suite(.serialized) struct SuspectTests {
  private static func front(
    _ strategy: FailStrategy = .failClose, admission: UInt32 = 60_000, loops: UInt32 = 1
  ) throws -> TestFront {
    try TestFront(plugins: [.test("guard", strategy, [.requestHeaders], deadline: 5_000, admission: admission)]) {
      $0.plugins[0].renews = true
      $0.plugins[0].suspectMemory = 600_000
      $0.plugins[0].suspectsAtMost = 64
      $0.eventLoops = loops
    }
  }

  private static func isKiller(_ callback: SeenCallback) -> Bool { callback.request.contains("x-kill=1") }

  private static let killer: FakeWorker.Behaviour = { callback, _ in isKiller(callback) ? .endVM : .goOn() }

  private static func learn(_ front: TestFront) throws {
    #expect(try front.get("/", headers: "X-Kill: 1\r\n").status != 0)
    try front.waitForEvent { if case .suspected = $0 { true } else { false } }
  }

  @Test func aSuspectWaitsForTheLaneAndIsServedThere() throws {
    let front = try Self.front()
    defer { front.stop() }
    let main = try front.addWorker(Self.killer)
    try Self.learn(front)
    guard
      case .suspected(let plugin, let fingerprint, let reason, let id, let what) = try front.waitForEvent({
        if case .suspected = $0 { true } else { false }
      })
    else { return }
    #expect(plugin == 0 && reason == .trap && !id.isEmpty && what.hasPrefix("GET "))
    #expect(fingerprint.request != 0 && fingerprint.shape != 0)
    #expect(ClientNumber.text(fingerprint.client) == "127.0.0.1")

    let seen = main.seen.count
    let waiting = try TestClient(port: front.ports[0])
    waiting.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nX-Kill: 1\r\n\r\n")
    try front.waitForEvent { $0 == .laneWanted(plugin: 0) }
    #expect(try front.get().status == 200, "others do not wait with it")
    let lane = try front.addWorker(ofLane: true) { _, _ in .goOn() }
    #expect(TestResponse(waiting.readToEnd()).status == 200, "it is answered as any other")
    #expect(lane.seen.count(where: Self.isKiller) == 1)
    #expect(main.seen.dropFirst(seen).allSatisfy { !Self.isKiller($0) })
    // The end of its stream, which may have come by now, has no headers of the request.
    #expect(lane.seen.filter { $0.kind == .requestHeaders }.allSatisfy(Self.isKiller), "nobody else goes there")
  }

  @Test(arguments: [PluginState.quarantined, .backoff])
  func aLaneThatDoesNotOpenRefusesAtOnceWhateverTheStrategy(_ state: PluginState) throws {
    let front = try Self.front(.failOpen)
    defer { front.stop() }
    try front.addWorker(Self.killer)
    try Self.learn(front)
    let waiting = try TestClient(port: front.ports[0])
    waiting.send("GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\nX-Kill: 1\r\n\r\n")
    try front.waitForEvent { $0 == .laneWanted(plugin: 0) }
    try front.command(.laneState(plugin: 0, state: state))
    let answer = TestResponse(waiting.readToEnd())
    #expect(answer.status == 503 && answer.text.contains("lane for suspects"), "\(answer)")
    #expect(try front.get("/", headers: "X-Kill: 1\r\n").status == 503)
    #expect(try front.get().status == 200)
    try front.command(.clearSuspects(plugin: 0))
    try front.command(.laneState(plugin: 0, state: .ready))
    try front.sync()
    #expect(
      try front.get("/", headers: "X-Kill: 1\r\n").status == 200, "it fails open, as any other that the plugin fails")
  }

  @Test func aSuspectThatWaitsTooLongIsRefused() throws {
    let front = try Self.front(.failOpen, admission: 100)
    defer { front.stop() }
    try front.addWorker(Self.killer)
    try Self.learn(front)
    let answer = try front.get("/", headers: "X-Kill: 1\r\n")
    #expect(answer.status == 503 && answer.text.contains("within 100 ms"), "\(answer)")
  }

  @Test func whatOneLoopLearnsTheOthersKnow() throws {
    let front = try Self.front(loops: 3)
    defer { front.stop() }
    let main = try front.addWorker(Self.killer)
    try Self.learn(front)
    let lane = try front.addWorker(ofLane: true, Self.killer)
    // Connections go to any of them.
    for _ in 0..<40 { #expect(try front.get("/", headers: "X-Kill: 1\r\n").status == 503) }
    #expect(lane.seen.count(where: Self.isKiller) >= 39)
    #expect(main.seen.count(where: Self.isKiller) <= 2, "one more may have been on its way")
  }

  // MARK: Fingerprints

  private static func fingerprint(_ request: String) throws -> Fingerprint {
    let front = try shared.get()
    front.forgetEvents()
    let client = try TestClient(port: front.ports[0])
    client.send(request)
    _ = client.readToEnd()
    guard
      case .suspected(_, let fingerprint, _, _, _) = try front.waitForEvent({
        if case .suspected = $0 { true } else { false }
      })
    else { return .none }
    return fingerprint
  }

  /// Each death is one of its own: with as many fingerprints as there are deaths nothing is a suspect twice.
  private static let shared = Result {
    let front = try TestFront(plugins: [.test("guard", .failClose, [.requestHeaders], deadline: 5_000)]) {
      $0.plugins[0].renews = true
      $0.plugins[0].suspectMemory = 1
      $0.plugins[0].suspectsAtMost = 1
    }
    try front.addWorker { _, _ in .endVM }
    return front
  }

  private static func request(_ target: String = "/a/b", _ headers: String = "", method: String = "GET") -> String {
    "\(method) \(target) HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\(headers)\r\n"
  }

  private static let pairs: [(String, String, Set<Fingerprint.Kind>)] = [
    (request(), request(), [.request, .shape]),
    (request("/", "X-Request-ID: 1\r\n"), request("/", "X-Request-ID: 2\r\n"), [.request, .shape]),
    (request("/", "TraceParent: 1\r\n"), request("/", "TraceParent: 2\r\n"), [.request, .shape]),
    (request("/", "X-Forwarded-For: 1.1.1.1\r\n"), request("/", "X-Forwarded-For: 2.2.2.2\r\n"), [.request, .shape]),
    (request("/", "X: 1\r\n"), request("/", "X: 2\r\n"), [.shape]),
    (request("/", "X: 1\r\n"), request("/", "Y: 1\r\n"), []),
    (request("/u/17"), request("/u/18"), [.shape]),
    (request("/u/17?a=1"), request("/u/18?a=2"), [.shape]),
    (request("/u/17?a=1"), request("/u/18?b=2"), []),
    (request("/u/17"), request("/v/17"), []),
    (request("/a/b"), request("/a/c"), []),
    (request("/ab"), request("/a/b"), []),
    (request(), request(method: "PUT"), []),
    (
      request("/", "X: \(String(repeating: "x", count: 10))\r\n"),
      request("/", "X: \(String(repeating: "x", count: 900))\r\n"), []
    ),
    (request("/?"), request("/"), []),
    (request("/?&&=&a"), request("/?&&=&a"), [.request, .shape]),
  ]

  @Test(arguments: pairs)
  func twoRequestsAreAlikeInWhatTheyHaveInCommon(
    _ first: String, _ second: String, _ common: Set<Fingerprint.Kind>
  ) throws {
    let one = try Self.fingerprint(first)
    let other = try Self.fingerprint(second)
    let same = Fingerprint.Kind.allCases.filter { one[$0] == other[$0] }
    #expect(Set(same) == common.union([.client]))
  }

  @Test func aKeyedHashTellsPiecesApart() {
    let key = KeyedHash.Key.random()
    func hash(_ pieces: [String], _ key: KeyedHash.Key = key) -> UInt64 {
      var hash = KeyedHash(key)
      for piece in pieces { Array(piece.utf8).withUnsafeBytes { hash.add($0) } }
      return hash.value
    }
    let inputs = [
      [], [""], ["", ""], ["a"], ["a", ""], ["", "a"], ["ab"], ["a", "b"], ["abcdefgh"], ["abcdefgh", ""],
      ["abcdefghi"], ["abcdefg", "hi"], ["\0"], ["\0\0"], ["12345678" + "\0"],
    ]
    #expect(Set(inputs.map { hash($0) }).count == inputs.count)
    #expect(inputs.allSatisfy { hash($0) == hash($0) && hash($0) != 0 })
    #expect(hash(["a"]) != hash(["a"], .random()))
  }
}
