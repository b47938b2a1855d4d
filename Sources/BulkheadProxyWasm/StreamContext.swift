import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// What the worker keeps of one stream between its callbacks. Objects are reused for later streams. One thread.
final class StreamContext {
  /// The plugin's number for it.
  private(set) var id: UInt32 = 0
  private(set) var loop = 0
  /// The front's number for it.
  private(set) var stream: UInt32 = 0

  /// The request, or what comes from the client; the response, or what comes from the upstream.
  let forward: Flow
  let backward: Flow
  /// A connection of bytes, no HTTP stream.
  private(set) var isConnection = false
  /// Of the connection, of the stream's first record, and of the latest record that had any.
  private var connectionProperties = ByteArena()
  private var firstProperties = ByteArena()
  private var latestProperties = ByteArena()
  /// What the plugin set itself.
  private(set) var ownProperties: [(path: [UInt8], value: [UInt8])] = []
  private(set) var ownPropertyBytes = 0

  /// The stream was answered or closed by the plugin.
  var isAnswered = false
  /// Why an answer that the plugin ordered in the callback that runs was refused; nil where none was.
  var refusedAnswer: String?
  /// The front is done with it.
  private(set) var isEnded = false
  /// Its end came, and `proxy_on_done` asked to wait for `proxy_done`.
  var isHeld = false
  /// That came: it ends when the running callback has.
  var isFinishing = false
  /// What it took at that time, in bytes.
  var heldBytes = 0
  /// The calls out that end with it.
  var calls: [UInt32] = []
  /// What the plugin wants of it from outside its own callbacks.
  var pending: ReplyBuilder?

  private let spare: SpareMemory

  /// - Parameters:
  ///   - blocks: the plugin's.
  ///   - spare: the plugin's.
  init(_ blocks: BodyBlocks, _ spare: SpareMemory) {
    self.spare = spare
    forward = Flow(blocks, spare)
    backward = Flow(blocks, spare)
  }

  static let maximumOwnProperties = 256
  static let maximumOwnPropertyBytes = 64 << 10

  /// The front's event loop and number in one.
  static func key(loop: Int, stream: UInt32) -> UInt64 { UInt64(truncatingIfNeeded: loop) &<< 32 | UInt64(stream) }
  var key: UInt64 { Self.key(loop: loop, stream: stream) }

  @inline(__always)
  var request: HeaderMap { forward.headers }
  @inline(__always)
  var response: HeaderMap { backward.headers }

  /// The way that a callback is about.
  @inline(__always)
  func flow(of kind: CallbackKind) -> Flow { kind.isFromUpstream ? backward : forward }

  @inline(__always)
  func otherWay(_ flow: Flow) -> Flow { flow === forward ? backward : forward }

  /// Begins a stream.
  func begin(id: UInt32, loop: Int, record: borrowing CallbackRecord) {
    self.id = id
    self.loop = loop
    stream = record.stream
    isConnection = record.kind.subject == .connection
    connectionProperties.replace(with: record.connectionPropertyBytes, spare)
    firstProperties.replace(with: record.streamPropertyBytes, spare)
  }

  /// Takes over what a later record brings.
  func update(record: borrowing CallbackRecord) {
    if !record.streamPropertyBytes.isEmpty {
      latestProperties.replace(with: record.streamPropertyBytes, spare)
    }
  }

  /// The front is done with the stream: from now on it can only be read.
  func endStream() {
    isEnded = true
    forward.close()
    backward.close()
  }

  /// Forgets the stream, so that the object can serve another.
  func end() {
    id = 0
    forward.clear()
    backward.clear()
    connectionProperties.trim(to: KeptBytes.spare, spare)
    firstProperties.trim(to: KeptBytes.spare, spare)
    latestProperties.trim(to: KeptBytes.spare, spare)
    if !ownProperties.isEmpty { ownProperties.removeAll() }
    ownPropertyBytes = 0
    isAnswered = false
    refusedAnswer = nil
    isEnded = false
    isHeld = false
    isFinishing = false
    heldBytes = 0
    calls.removeAll(keepingCapacity: true)
    pending = nil
  }

  /// Nobody can ask for anything of it any more, and it goes on: what it has brought goes.
  func dropHeaders() {
    forward.clear(keeping: 0)
    connectionProperties.trim(to: 0, spare)
    firstProperties.trim(to: 0, spare)
    latestProperties.trim(to: 0, spare)
  }

  /// The memory that its headers and properties take, and the object itself.
  var memoryBytes: Int {
    forward.headers.memoryBytes &+ forward.trailers.memoryBytes &+ backward.headers.memoryBytes
      &+ backward.trailers.memoryBytes &+ connectionProperties.capacity &+ firstProperties.capacity
      &+ latestProperties.capacity &+ ownPropertyBytes &+ 1_024
  }

  /// A property that the front sent; valid until the stream's next record.
  ///
  /// The connection's come first, and in each block the first of a name: what plugins before this one have set stands
  /// behind what the front knows, and cannot take its place.
  func property(_ path: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    Self.find(path, connectionProperties.bytes) ?? Self.find(path, latestProperties.bytes)
      ?? Self.find(path, firstProperties.bytes)
  }

  private static func find(
    _ path: UnsafeRawBufferPointer, _ block: UnsafeRawBufferPointer
  ) -> UnsafeRawBufferPointer? {
    guard !block.isEmpty, let pairs = try? PairsView(block) else { return nil }
    var found: UnsafeRawBufferPointer?
    pairs.visit { key, value in
      if found == nil, key.count == path.count, key.elementsEqual(path) { found = value }
    }
    return found
  }

  /// A property that the plugin set.
  func ownProperty(_ path: UnsafeRawBufferPointer) -> [UInt8]? {
    ownProperties.first { $0.path.elementsEqual(path) }?.value
  }

  /// Sets a property of the plugin's own.
  ///
  /// - Parameter room: how many bytes more the plugin may have of them.
  /// - Returns: false where it would have too many or too large ones.
  func setOwnProperty(_ path: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, room: Int) -> Bool {
    if let index = ownProperties.firstIndex(where: { $0.path.elementsEqual(path) }) {
      let bytes = ownPropertyBytes &- ownProperties[index].value.count &+ value.count
      guard bytes <= Self.maximumOwnPropertyBytes, bytes &- ownPropertyBytes <= room else { return false }
      ownProperties[index].value = [UInt8](value)
      ownPropertyBytes = bytes
      return true
    }
    let more = path.count &+ value.count
    let bytes = ownPropertyBytes &+ more
    guard ownProperties.count < Self.maximumOwnProperties, bytes <= Self.maximumOwnPropertyBytes, more <= room else {
      return false
    }
    ownProperties.append(([UInt8](path), [UInt8](value)))
    ownPropertyBytes = bytes
    return true
  }
}
