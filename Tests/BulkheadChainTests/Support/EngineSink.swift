import BulkheadCore
import BulkheadTestSupport
import BulkheadWire

@testable import BulkheadChain

/// Bytes as a transport hands them to a stream.
func piece(_ bytes: [UInt8]) -> ByteChunk { bytes.withUnsafeBytes { ByteChunk(copying: $0) } }

/// A transport without a socket: it notes what comes out of the chain, and does the least that a transport must do.
final class EngineSink: StreamSink {
  let stream: FilterStream
  private let engine: ChainEngine
  private var slot = -1

  /// One direction as the other side sees it.
  struct Side: Equatable {
    /// The headers that came out, `name=value`; nil before.
    var head: [String]?
    var bytes: [UInt8] = []
    var hasEnded = false
    var trailers: [String] = []
    var text: String { String(decoding: bytes, as: UTF8.self) }
  }

  private(set) var upstream = Side()
  private(set) var client = Side()
  /// Why plugins ended its way.
  private(set) var stops: [String] = []
  /// The response that was under way is cut off, or the connection closed.
  private(set) var isReset = false
  /// The request that the client sees is answered by us, not by the upstream.
  private(set) var isOwnAnswer = false
  /// How often the stream has come to its end.
  private(set) var ends = 0
  private(set) var awaitsBytes = 0
  /// What no transport may see.
  private(set) var wrongs: [String] = []
  private(set) var settles = 0

  /// Directions whose bytes it does not take.
  var refuses: Set<Direction> = []
  var dawdles = false
  var endpointCount: Int { 1 }
  private(set) var chosen: [String] = []
  private var made: [Direction: MadeBytes] = [.request: MadeBytes(), .response: MadeBytes()]

  var label: String { "stream" }
  var look: String { "a stream of a test" }

  init(_ engine: ChainEngine, _ proto: StreamProtocol) {
    self.engine = engine
    stream = FilterStream(engine: engine, proto: proto)
    stream.attach(self)
  }

  var settings: ChainSettings { stream.chain.settings }
  var isOpen: Bool { stream.isOpen }
  private var isHTTP: Bool { stream.proto == .http }

  subscript(direction: Direction) -> Side { direction == .request ? upstream : client }

  // MARK: What the two sides do

  /// A stream begins; the object may have carried others before.
  func begin() {
    slot = engine.takeSlot(for: stream)
    upstream = Side()
    client = Side()
    stops = []
    isReset = false
    isOwnAnswer = false
    ends = 0
    awaitsBytes = 0
    hasResponse = false
    dawdles = false
    stream.begin(slot: slot)
  }

  /// The request's head has come, or the connection.
  func start(_ headers: [(String, String)] = [], endsWithHead: Bool = false) {
    guard isHTTP else {
      stream.start(.response, at: -1, hasHead: false, settings.roles(.tcp, .response))
      stream.start(.request, at: 0, hasHead: !settings.networkPlaces.isEmpty, settings.roles(.tcp, .request))
      return stream.note()
    }
    for (name, value) in [(":method", "POST"), (":path", "/")] + headers {
      append(name, value, to: stream[.request].headers)
    }
    stream.start(
      .request, at: 0, hasHead: settings.hasRequestCallbacks, endsWithHead ? [] : settings.requestRoles,
      endsWithHead: endsWithHead)
    if endsWithHead { stream.putEnd([], .request) } else { stream.note() }
  }

  private(set) var hasResponse = false
  /// Whether an upstream could answer now.
  var mayRespond: Bool { isHTTP && isOpen && upstream.head != nil && !hasResponse && !isOwnAnswer }

  /// The upstream's head has come.
  func respond(_ headers: [(String, String)] = [], endsWithHead: Bool = false) {
    guard mayRespond else { return }
    hasResponse = true
    for (name, value) in [(":status", "200")] + headers { append(name, value, to: stream[.response].headers) }
    stream.start(
      .response, at: stream.visits.count - 1, hasHead: settings.hasResponseCallbacks,
      endsWithHead ? [] : settings.responseRoles, endsWithHead: endsWithHead)
    if endsWithHead { stream.putEnd([], .response) } else { stream.note() }
  }

  private func append(_ name: String, _ value: String, to map: HeaderMap) {
    Array(name.utf8).withUnsafeBytes { name in
      Array(value.utf8).withUnsafeBytes { _ = map.appendParsed(name, $0) }
    }
  }

  func put(_ text: String, _ direction: Direction) { put(Array(text.utf8), direction) }

  func put(_ bytes: [UInt8], _ direction: Direction) {
    guard isOpen else { return }
    stream.put(piece(bytes), direction)
    stream.note()
  }

  func putEnd(_ direction: Direction, _ trailers: [(String, String)] = []) {
    guard isOpen else { return }
    stream.putEnd(trailers.map { ($0, Array($1.utf8)) }, direction)
  }

  /// Takes what comes out of that direction, or no more of it.
  func set(_ direction: Direction, takes: Bool) {
    if takes { refuses.remove(direction) } else { refuses.insert(direction) }
    guard takes, isOpen else { return }
    stream.sinkTakesAgain(direction)
    stream.note()
  }

  /// It waits for its own client from now on, or no more.
  func dawdle(_ dawdles: Bool) {
    self.dawdles = dawdles
    let now = engine.now
    switch (isHTTP, dawdles) {
    case (true, true): engine.clientWaits.enter(slot, now: now)
    case (true, false): engine.clientWaits.leave(slot)
    case (false, true): engine.connectionWaits.enter(slot, now: now)
    case (false, false): engine.connectionWaits.leave(slot)
    }
  }

  /// The client is gone.
  func abort() { finish() }

  private func finish() {
    guard isOpen else { return }
    ends += 1
    for direction in FilterStream.directions { made[direction]?.settle() }
    stream.end(
      isHTTP ? nil : ConnectionCloses(upstream: .local, downstream: .local), showsResponse: client.head != nil)
    engine.giveBack(slot: slot)
    slot = -1
  }

  /// The object goes, as with its connection.
  func detach() {
    finish()
    stream.detach()
  }

  // MARK: StreamSink

  func takes(_ direction: Direction) -> Bool { !refuses.contains(direction) }

  func passed(_ direction: Direction) {
    guard isOpen, takes(direction), case .passed = stream[direction].head else { return }
    var side = self[direction]
    if side.hasEnded, !stream[direction].output.isEmpty { wrongs.append("bytes behind the end of the \(direction)") }
    if side.head == nil { side.head = stream[direction].headers.strings.map { "\($0)=\($1)" } }
    side.bytes += stream[direction].output.bytes
    stream[direction].output.removeAll()
    made[direction]?.settle()
    if stream[direction].isWhole, !side.hasEnded {
      side.hasEnded = true
      side.trailers = stream[direction].trailers.map { "\($0.name)=\(String(decoding: $0.value, as: UTF8.self))" }
    }
    if direction == .request { upstream = side } else { client = side }
    // An HTTP stream ends with its response; a connection with both directions.
    if client.hasEnded, isHTTP || upstream.hasEnded { finish() }
  }

  func settled() { settles += 1 }

  func bytesAreAwaited() { awaitsBytes += 1 }

  func stop(_ cause: StreamStop, by place: Int) {
    if !isOpen { wrongs.append("stopped though it is over") }
    switch cause {
    case .failed(_, let fault):
      stops.append("\(fault == .failure ? "failed" : "overload") \(place)")
      end(with: WorkerAnswer(status: 503, body: "failed"))
    case .closed:
      stops.append("closed \(place)")
      isReset = true
      finish()
    case .answered(let local):
      stops.append("answered \(place) \(local.status)")
      guard isHTTP, client.head == nil else { return cutOff() }
      guard made[.response]?.charge(stream.chain.plugins[place], local.body.count) ?? false else {
        return stop(.madeTooMuch, by: place)
      }
      end(
        with: WorkerAnswer(
          status: local.status, body: String(decoding: local.body, as: UTF8.self), headers: local.headers.strings))
    case .holdsTooMuch(let direction):
      stops.append("holds too much \(place) \(direction)")
      end(with: WorkerAnswer(status: direction == .request ? 413 : 500, body: "large"))
    case .madeTooMuch:
      stops.append("made too much \(place)")
      end(with: WorkerAnswer(status: 503, body: "made"))
    }
  }

  private func cutOff() {
    isReset = true
    finish()
  }

  /// Answers in place of the upstream, where that is still possible.
  private func end(with answer: WorkerAnswer) {
    guard isHTTP, client.head == nil else { return cutOff() }
    let from = stream.wayBack
    isOwnAnswer = true
    stream.drop()
    made[.request]?.settle()
    let response = stream[.response].headers
    response.reset()
    append(":status", String(answer.status), to: response)
    for (name, value) in answer.headers { append(name, value, to: response) }
    let place = min(from, stream.visits.count - 1)
    let isEmpty = answer.body.isEmpty
    stream.start(
      .response, at: place, hasHead: true,
      isEmpty || !settings.hasResponseBodyCallbacks ? [] : settings.responseRoles.filter { $0.place <= place },
      endsWithHead: isEmpty)
    if !isEmpty { stream.put(piece(Array(answer.body.utf8)), .response) }
    stream.putEnd([], .response)
  }

  func shed(for plugin: PluginWorkers, after milliseconds: UInt64) {
    stops.append("shed")
    end(with: WorkerAnswer(status: 408, body: "shed"))
  }

  func charge(_ bytes: Int, to plugin: PluginWorkers, _ direction: Direction) -> Bool {
    made[direction]?.charge(plugin, bytes) ?? false
  }

  private var connectionBlock = WireWriter()

  func connectionProperties() -> UnsafeRawBufferPointer {
    connectionBlock.reset()
    connectionBlock.pairs([("source.address", "192.0.2.1:1")])
    return connectionBlock.bytes
  }

  func writeProperties(isFirst: Bool, isResponse: Bool, isDone: Bool, into writer: inout WireWriter) {
    var cursor = writer.beginPairs(count: stream.properties.count)
    for property in stream.properties.list {
      property.path.withUnsafeBytes { path in
        property.value.withUnsafeBytes { writer.addPair(&cursor, path, $0) }
      }
    }
  }

  func choose(_ endpoint: UnsafeRawBufferPointer, by place: Int) {
    chosen.append(String(decoding: endpoint, as: UTF8.self))
  }

  func isEditable(_ direction: Direction) -> Bool { isHTTP && self[direction].head == nil }
}
