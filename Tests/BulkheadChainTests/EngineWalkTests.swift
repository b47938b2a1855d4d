import BulkheadCore
import BulkheadTestSupport
import BulkheadWire
import Glibc
import Testing

@testable import BulkheadChain

/// A hundred thousand streams to which anything happens in any order. Whatever it is: each stream ends once, nothing of it is
/// held afterwards, no worker is told of it behind its end, bytes that no plugin changes come out as they came, and none of
/// them pass a plugin that was to see them.
@Suite struct EngineWalkTests {
  /// Streams of one seed.
  static let streams = 1_000

  @Test(arguments: 0..<100) func whateverHappensTheInvariantsHold(seed: Int) throws {
    let walk = try EngineWalk(seed: seed)
    for _ in 0..<Self.streams where walk.wrongs.isEmpty { try walk.liveOneStream() }
    walk.finish()
    #expect(walk.wrongs.isEmpty, "seed \(seed), stream \(walk.count): \(walk.story.joined(separator: "; "))")
    // A walk on which nothing happens shows nothing.
    #expect(walk.count == Self.streams)
  }
}

/// One engine with some plugins, and a few transports whose objects carry one stream after the other.
private final class EngineWalk {
  /// Bytes that are all over the place.
  private static let noise: [UInt8] = {
    let random = seededRandom(1)
    return (0..<16_384).map { _ in UInt8(random(256)) }
  }()

  private let random: (Int) -> Int
  private let proto: StreamProtocol
  private let harness: EngineHarness
  /// As the chain that new streams take has them.
  private var configured: [FrontBootstrap.Plugin]
  private var nextPlugin: UInt32
  private let changesBytes: Bool
  private let isHostile: Bool
  private var lives: [Life]
  private(set) var count = 0
  private(set) var wrongs: [String] = []
  /// What happened since all was quiet last.
  private(set) var story: [String] = []

  /// One stream as the two sides know it.
  private struct Life {
    let sink: EngineSink
    var sent: [Direction: [UInt8]] = [.request: [], .response: []]
    var ended: Set<Direction> = []
    /// How many bytes of it plugins have looked at, by `EngineWalk.looker`.
    var seen: [UInt64: Int] = [:]
    /// A plugin was let change the bytes.
    var isChanged = false
    /// Its end was looked at.
    var isJudged = true
  }

  init(seed: Int) throws {
    let random = seededRandom(seed &+ 1)
    self.random = random
    // The first numbers of a small seed are much alike.
    for _ in 0..<8 { _ = random(2) }
    proto = random(2) == 0 ? .http : .tcp
    changesBytes = random(2) == 0
    isHostile = random(3) > 0
    var plugins: [FrontBootstrap.Plugin] = []
    for number in 0..<(1 + random(4)) { plugins.append(Self.plugin(UInt32(number), proto, random)) }
    nextPlugin = UInt32(plugins.count)
    configured = plugins
    harness = try EngineHarness(plugins, callbackBytes: random(2) == 0 ? 4 << 10 : 16 << 10)
    lives = []
    for _ in 0..<(1 + random(3)) { lives.append(Life(sink: harness.sink(proto))) }
    for plugin in harness.engine.chain.plugins { for _ in 0...random(2) { try addWorker(plugin) } }
  }

  private static func plugin(
    _ number: UInt32, _ proto: StreamProtocol, _ random: (Int) -> Int
  ) -> FrontBootstrap.Plugin {
    let all: [CallbackSet] =
      proto == .http
      ? [.requestHeaders, .requestBody, .requestTrailers, .responseHeaders, .responseBody, .responseTrailers, .log]
      : [.newConnection, .downstreamData, .upstreamData, .downstreamClose, .upstreamClose]
    var callbacks = CallbackSet()
    for callback in all where random(3) > 0 { callbacks.insert(callback) }
    var plugin = FrontBootstrap.Plugin.engine(
      callbacks, FailStrategy.allCases[random(3)], overload: OverloadStrategy.allCases[random(2)], number: number,
      admission: UInt32(10 + random(40)), renews: random(2) == 0, bufferBytes: random(4) == 0 ? 64 : 1 << 20)
    plugin.workers = UInt32(1 + random(2))
    plugin.slow = random(3) == 0 ? 5 : 0
    plugin.keepsStreams = random(4) > 0
    plugin.grace = 20
    plugin.callbackDeadline = 100
    if random(3) == 0 {
      plugin.suspectMemory = 1_000
      plugin.suspectsAtMost = 16
    }
    return plugin
  }

  private func addWorker(_ plugin: PluginWorkers, ready: Bool = true, isLane: Bool = false) throws {
    try harness.addWorker(plugin.number, ready: ready, isLane: isLane).forgetsRecords = true
  }

  private var plugins: [PluginWorkers] { harness.engine.chain.plugins }

  private func say(_ text: @autoclosure () -> String) { story.append(text()) }

  // MARK: Streams

  /// A stream begins, and some things happen to it and to those beside it.
  func liveOneStream() throws {
    let index = random(lives.count)
    end(index)
    lives[index] = Life(sink: lives[index].sink, isJudged: false)
    lives[index].sink.refuses = []
    count += 1
    say("begin \(index)")
    lives[index].sink.begin()
    if lives[index].sink.stream.chain !== harness.engine.chain { wrongs.append("stream \(index) takes an old chain") }
    if random(2) == 0 {
      let look = UInt64(1 + random(4))
      lives[index].sink.stream.fingerprint = Fingerprint(request: look, shape: look &+ 10, client: look &+ 20)
    }
    let endsWithHead = proto == .http && random(4) == 0
    if endsWithHead { lives[index].ended.insert(.request) }
    lives[index].sink.start([("a", "1")], endsWithHead: endsWithHead)
    for _ in 0..<(4 + random(10)) where wrongs.isEmpty { try happen() }
    judge()
    // Now and then all come to their end, and nothing may be left.
    if random(16) == 0 { try rest() }
  }

  /// The transport ends the stream, or it is over by itself already.
  private func end(_ index: Int) {
    if lives[index].sink.isOpen {
      say("abort \(index)")
      lives[index].sink.abort()
    }
    judge()
  }

  /// Looks at what came out of the streams so far.
  private func judge() {
    for index in lives.indices where !lives[index].isJudged {
      let life = lives[index]
      let sink = life.sink
      if !sink.isOpen { lives[index].isJudged = true }
      wrongs += sink.wrongs
      if sink.ends != (sink.isOpen ? 0 : 1) { wrongs.append("stream \(index) has ended \(sink.ends) times") }
      for direction in FilterStream.directions where !life.isChanged {
        // What we answer ourselves is nobody's.
        if direction == .response, sink.isOwnAnswer { continue }
        let (sent, came) = (life.sent[direction] ?? [], sink[direction].bytes)
        if !Self.begins(sent, with: came) {
          wrongs.append("bytes of \(index), \(direction): \(came.count) of \(sent.count) are others")
        } else if sink[direction].hasEnded, came != sent {
          wrongs.append("bytes of \(index), \(direction): \(sent.count - came.count) are lost")
        } else if sink.isOpen, sink[direction].hasEnded {
          judgeSeen(life, index, direction)
        }
      }
    }
  }

  /// Each plugin that has not failed the stream has looked at all that is out.
  private func judgeSeen(_ life: Life, _ index: Int, _ direction: Direction) {
    let stream = life.sink.stream
    let settings = life.sink.settings
    let roles =
      proto == .tcp
      ? settings.roles(.tcp, direction) : direction == .request ? settings.requestRoles : settings.responseRoles
    for role in roles where role.hasBytes && stream.visits[role.place].meeting == .open {
      let seen = life.seen[Self.looker(stream.chain.plugins[role.place].number, direction)] ?? 0
      let sent = life.sent[direction]?.count ?? 0
      if seen != sent { wrongs.append("\(sent) bytes of \(index), \(direction): plugin \(role.place) saw \(seen)") }
    }
  }

  private static func looker(_ plugin: UInt32, _ direction: Direction) -> UInt64 {
    UInt64(plugin) << 1 | (direction == .request ? 0 : 1)
  }

  /// A plugin has looked at what the record carries.
  private func see(_ record: SeenCallback, _ worker: EngineWorker) {
    guard let (direction, isHead) = record.kind.part, !isHead, record.kind != .requestTrailers,
      record.kind != .responseTrailers,
      let index = lives.firstIndex(where: { $0.sink.stream.streamID == record.stream })
    else { return }
    lives[index].seen[Self.looker(worker.link.plugin.number, direction), default: 0] += record.payload.count
  }

  private static func begins(_ whole: [UInt8], with start: [UInt8]) -> Bool {
    whole.count >= start.count && memcmp(whole, start, start.count) == 0
  }

  /// All is brought to its end: every worker goes on, and every stream that still is ends.
  private func rest() throws {
    for plugin in plugins where plugin.workers.first == nil {
      plugin.setState(.ready)
      try addWorker(plugin)
    }
    for (worker, bytes) in squeezed { worker.link.letGo(bytes) }
    squeezed = []
    for life in lives {
      for direction in FilterStream.directions { life.sink.set(direction, takes: true) }
    }
    for worker in harness.workers where worker.link.state == .attached { worker.link.becomeReady() }
    serve()
    judge()
    for index in lives.indices { end(index) }
    serve()
    // Who waits longer than it may is gone by then.
    harness.pass(milliseconds: 60)
    serve()
    judge()
    wrongs += harness.heldThings()
    for worker in harness.workers { worker.forgetLost() }
    harness.forgetDeadWorkers()
    harness.loop.forget()
    if wrongs.isEmpty { story = [] }
  }

  private func serve() {
    harness.serve { worker, record in if worker.answer() { see(record, worker) } }
  }

  func finish() {
    guard wrongs.isEmpty else { return }
    do { try rest() } catch { wrongs.append("\(error)") }
    for life in lives { life.sink.detach() }
  }

  // MARK: What happens

  private func happen() throws {
    switch random(32) {
    case 0...5: put()
    case 6, 7: putEnd()
    case 8...10: respond()
    case 11: take()
    case 12...22: work()
    case 23: act()
    case 24: try hurt()
    case 25: try bring()
    case 26: pass()
    case 27: if random(4) == 0 { setState() }
    case 28: if random(4) == 0 { end(random(lives.count)) }
    case 29: if random(8) == 0 { try reload() } else { dawdle() }
    case 30: if random(4) == 0 { squeeze() }
    default: harness.run()
    }
    if random(3) > 0 { harness.run() }
  }

  private func direction() -> Direction { random(2) == 0 ? .request : .response }

  private func put() {
    let index = random(lives.count)
    let direction = direction()
    guard lives[index].sink.isOpen, !lives[index].ended.contains(direction), mayCome(index, direction) else { return }
    let start = random(Self.noise.count / 2)
    let bytes = Array(Self.noise[start...start + random(random(20) == 0 ? 3_000 : 30)])
    say("put \(index) \(direction) \(bytes.count)")
    lives[index].sent[direction, default: []] += bytes
    lives[index].sink.put(bytes, direction)
  }

  /// A response's bytes come behind its head; where we answer ourselves, nobody listens any more.
  private func mayCome(_ index: Int, _ direction: Direction) -> Bool {
    guard proto == .http else { return true }
    let sink = lives[index].sink
    return direction == .request ? !sink.isOwnAnswer : sink.hasResponse && !sink.isOwnAnswer
  }

  private func putEnd() {
    let index = random(lives.count)
    let direction = direction()
    guard lives[index].sink.isOpen, !lives[index].ended.contains(direction), mayCome(index, direction) else { return }
    lives[index].ended.insert(direction)
    let trailers = proto == .http && random(2) == 0 ? [("t", "1")] : []
    say("end \(index) \(direction) \(trailers.count)")
    lives[index].sink.putEnd(direction, trailers)
  }

  private func respond() {
    let index = random(lives.count)
    guard lives[index].sink.mayRespond else { return }
    let endsWithHead = random(4) == 0
    if endsWithHead { lives[index].ended.insert(.response) }
    say("respond \(index) \(endsWithHead)")
    lives[index].sink.respond(endsWithHead: endsWithHead)
  }

  private func take() {
    let index = random(lives.count)
    let direction = direction()
    let takes = random(2) == 0
    say("take \(index) \(direction) \(takes)")
    lives[index].sink.set(direction, takes: takes)
  }

  private func anyWorker() -> EngineWorker? {
    let count = harness.workers.count { !$0.isDead && !$0.link.isLost }
    guard count > 0 else { return nil }
    var left = random(count)
    for worker in harness.workers where !worker.isDead && !worker.link.isLost {
      if left == 0 { return worker }
      left -= 1
    }
    return nil
  }

  /// A worker does its next piece of work.
  private func work() {
    guard let worker = anyWorker(), let record = worker.take() else { return }
    switch random(40) {
    case 0:
      if worker.link.plugin.settings.renews {
        say("VM of \(worker.number) ends in \(record.kind.name)")
        worker.endVM()
      }
    case 1, 2:
      say("\(worker.number) begins \(record.kind.name)")
      worker.begin()
    case 3: if isHostile, random(4) == 0 { lie(worker, record) }
    case 4:
      say("\(worker.number) answers \(record.kind.name) itself")
      worker.answer(answer: WorkerAnswer(status: 200 + UInt32(random(300)), body: random(2) == 0 ? "" : "own"))
      changed(record.stream)
    default:
      let flags = flags(record.kind)
      let operations = operations(record.stream)
      say("\(worker.number) answers \(record.kind.name) \(flags.rawValue) \(operations.count)")
      if worker.answer(flags, operations) { see(record, worker) }
    }
  }

  private func flags(_ kind: CallbackKind) -> ReplyRecord.Flags {
    guard random(3) == 0 else { return [] }
    var flags: ReplyRecord.Flags = random(3) > 0 ? .pause : []
    let all: [ReplyRecord.Flags] = [
      .continueRequest, .continueResponse, .continueDownstream, .continueUpstream, .stopIteration, .watermark,
    ]
    for flag in all where random(4) == 0 { flags.insert(flag) }
    if random(30) == 0 { flags.insert(.closeStream) }
    return flags
  }

  private func operations(_ stream: UInt32) -> [WorkerOperation] {
    var operations: [WorkerOperation] = []
    if proto == .http, random(4) == 0 {
      let map = EditedMap(rawValue: UInt8(random(4))) ?? .requestHeaders
      operations.append(.edit(random(2) == 0 ? .add : .replace, map, "x\(random(4))", "v"))
    }
    if random(8) == 0 { operations.append(.property("p\(random(3))", "v")) }
    if changesBytes, random(6) == 0 {
      let buffers: [EditedBuffer] = proto == .http ? [.requestBody, .responseBody] : [.downstreamData, .upstreamData]
      operations.append(.splice(buffers[random(2)], random(40), random(40), Array(repeating: 1, count: random(80))))
      changed(stream)
    }
    return operations
  }

  /// What comes out of that stream is not what came.
  private func changed(_ stream: UInt32) {
    for index in lives.indices where lives[index].sink.stream.streamID == stream { lives[index].isChanged = true }
  }

  /// Something outside any callback.
  private func act() {
    guard let worker = anyWorker() else { return }
    let own = lives.filter { $0.sink.isOpen && $0.sink.stream.place(of: worker.link) != nil }
    // Of a stream that is over, or of one that this worker does not have.
    guard let life = isHostile && random(8) == 0 ? lives[random(lives.count)] : own.first else { return }
    let stream = life.sink.stream.streamID
    guard stream != StreamID.none else { return }
    let isAnswer = random(10) == 0
    say("\(worker.number) acts")
    worker.act(
      stream, flags(.none), operations(stream), answer: isAnswer ? WorkerAnswer(status: 302, body: "act") : nil)
  }

  private func lie(_ worker: EngineWorker, _ record: SeenCallback) {
    say("\(worker.number) lies at \(record.kind.name)")
    switch random(4) {
    case 0: worker.reply((0..<(1 + random(40))).map { _ in UInt8(random(256)) })
    case 1: worker.reply(WorkerReply.bytes(.callbackDone, record.stream, record.sequence &+ UInt64(1 + random(3))))
    case 2: worker.reply(WorkerReply.bytes(.callbackDone, record.stream &+ 1, record.sequence))
    default:
      let long = String(repeating: "v", count: 900)
      worker.reply(
        WorkerReply.bytes(
          .callbackDone, record.stream, record.sequence, [],
          (0..<1_100).map { .edit(.add, .requestHeaders, "n\($0)", $0 < 3 ? long : "") }))
      changed(record.stream)
    }
  }

  /// Something becomes of a worker.
  private func hurt() throws {
    guard let worker = anyWorker() else { return }
    switch random(4) {
    case 0:
      if worker.link.plugin.settings.renews, worker.current == nil {
        say("VM of \(worker.number) ends")
        worker.endIdleVM()
      }
    case 1:
      say("\(worker.number) is retired")
      worker.link.retire()
    default:
      say("\(worker.number) dies")
      worker.die()
    }
  }

  /// The supervisor buries the dead, and brings new workers.
  private func bring() throws {
    for worker in harness.workers where !worker.isDead && worker.link.state == .lost { worker.die() }
    for worker in harness.workers where worker.link.state == .attached {
      say("\(worker.number) is ready")
      worker.link.becomeReady()
    }
    for plugin in plugins where plugin.workers.all.count < 2 {
      say("a worker of \(plugin.number)")
      try addWorker(plugin, ready: random(3) > 0)
    }
    for plugin in plugins where plugin.settings.hasLane && plugin.workers.lanes.isEmpty && random(2) == 0 {
      say("a lane of \(plugin.number)")
      try addWorker(plugin, isLane: true)
    }
  }

  private func pass() {
    let milliseconds = UInt64(random(random(4) == 0 ? 120 : 8))
    say("\(milliseconds) ms")
    harness.pass(milliseconds: milliseconds)
  }

  /// One plugin less, one more, another order.
  private func reload() throws {
    if configured.count > 1, random(2) == 0 { configured.remove(at: random(configured.count)) }
    if configured.count < 4, random(2) == 0 {
      configured.insert(Self.plugin(nextPlugin, proto, random), at: random(configured.count + 1))
      nextPlugin += 1
    }
    configured.swapAt(0, random(configured.count))
    say("reload \(configured.map(\.name))")
    try harness.reload(configured)
    for plugin in plugins where plugin.workers.all.isEmpty { try addWorker(plugin) }
  }

  /// A stream waits for its own client.
  private func dawdle() {
    let index = random(lives.count)
    guard lives[index].sink.isOpen else { return }
    let dawdles = random(3) > 0
    say("\(index) dawdles \(dawdles)")
    lives[index].sink.dawdle(dawdles)
  }

  /// Workers that are made to keep more than they may, by so much.
  private var squeezed: [(EngineWorker, Int)] = []

  private func squeeze() {
    guard let worker = anyWorker(), !squeezed.contains(where: { $0.0 === worker }) else { return }
    say("\(worker.number) keeps too much")
    worker.link.hold(ChainLimits.heldBytes + 1)
    squeezed.append((worker, ChainLimits.heldBytes + 1))
  }

  private func setState() {
    let plugin = plugins[random(plugins.count)]
    if plugin.settings.hasLane, random(2) == 0 {
      let state: PluginState = [.ready, .backoff, .quarantined][random(3)]
      say("lane of \(plugin.number) \(state)")
      return plugin.setLaneState(state)
    }
    let state: PluginState = random(3) == 0 ? .quarantined : .ready
    say("plugin \(plugin.number) \(state)")
    plugin.setState(state)
  }
}
