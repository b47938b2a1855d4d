import BulkheadCore
import NIOCore

/// The way of bytes: from the client to the upstream (`downstream`, as Proxy-Wasm calls what the client sends), or back.
enum TCPDirection {
  case downstream
  case upstream

  var callback: CallbackSet { self == .downstream ? .downstreamData : .upstreamData }
  var kind: CallbackKind { self == .downstream ? .downstreamData : .upstreamData }
  var other: TCPDirection { self == .downstream ? .upstream : .downstream }
}

/// One plugin of type NETWORK as one connection has met it. One event loop.
final class TCPStage {
  enum Meeting {
    case unseen
    /// A worker has a context for the connection, or is about to.
    case open
    /// The plugin failed the connection, which goes on without it.
    case dead
  }

  /// How far `proxy_on_new_connection` has come.
  enum Opening {
    /// A plugin before this one has not let the connection pass.
    case notReached
    case toBeCalled
    case calling
    /// It waits for `proxy_continue_stream`, or for a data callback that continues.
    case paused
    case passed
  }

  /// One direction's bytes at this plugin.
  struct Lane {
    /// What the plugin has not seen, and whether the end is behind it.
    var pending = ByteBuffer()
    var pendingEnd = false
    /// What it is shown now.
    var sent = ByteBuffer()
    var sentEnd = false
    /// What it has seen and holds back.
    var held = ByteBuffer()
    var heldEnd = false
    /// How much of that came: the rest the plugin made.
    var came = 0
    /// What of `held` came, where the plugin changed it and the connection would go on without it.
    private var original: ByteBuffer?
    /// There was more of that than may be kept.
    private(set) var originalIsLost = false
    /// The last data callback paused: `held` waits, even where it is empty.
    var isPaused = false
    /// The outstanding callback's sequence; 0 for none.
    var sequence: UInt64 = 0

    /// What waits here, without what the plugin holds back on purpose.
    var waitingBytes: Int { pending.readableBytes &+ sent.readableBytes }
    var hasPending: Bool { pending.readableBytes > 0 || pendingEnd }

    mutating func append(_ bytes: ByteBuffer, end: Bool) {
      pending.take(bytes)
      if end { pendingEnd = true }
    }

    /// The piece that the plugin is shown next, and whether the end is behind it.
    mutating func cut(atMost count: Int) -> (piece: ByteBuffer, end: Bool) {
      let piece = pending.readSlice(length: min(count, pending.readableBytes)) ?? ByteBuffer()
      if pending.readableBytes == 0 { pending = ByteBuffer() }
      let end = pendingEnd && pending.readableBytes == 0
      if end { pendingEnd = false }
      return (piece, end)
    }

    /// The plugin has looked: what was shown to it is behind what it holds.
    mutating func seen(bound: Int) {
      came &+= sent.readableBytes
      if var all = original {
        original = nil
        all.take(sent)
        keepOriginal(all, bound: bound)
      }
      held.take(sent)
      heldEnd = heldEnd || sentEnd
      sent = ByteBuffer()
      sentEnd = false
      isPaused = true
    }

    /// Does one edit of what the plugin holds.
    ///
    /// - Parameter keepsOriginal: the connection would go on with what was there before.
    mutating func splice(
      start: Int, length: Int, _ bytes: UnsafeRawBufferPointer, keepsOriginal: Bool, bound: Int
    ) {
      if keepsOriginal, original == nil, !originalIsLost { keepOriginal(held, bound: bound) }
      held.splice(start: start, length: length, bytes)
    }

    private mutating func keepOriginal(_ bytes: ByteBuffer, bound: Int) {
      originalIsLost = bytes.readableBytes > bound
      original = originalIsLost ? nil : bytes
    }

    /// What the plugin lets go of.
    mutating func release() -> (bytes: ByteBuffer, end: Bool) {
      let held = (held, heldEnd)
      self.held = ByteBuffer()
      heldEnd = false
      came = 0
      original = nil
      originalIsLost = false
      isPaused = false
      return held
    }

    /// What it was shown is as if it had not been.
    mutating func takeBack() {
      sequence = 0
      guard sent.readableBytes > 0 || sentEnd else { return }
      var all = sent
      all.take(pending)
      pending = all
      pendingEnd = pendingEnd || sentEnd
      sent = ByteBuffer()
      sentEnd = false
    }

    /// All that is here, in order and as it came: the plugin has no more say in it.
    mutating func takeAll() -> (bytes: ByteBuffer, end: Bool) {
      var all = original ?? held
      all.take(sent)
      all.take(pending)
      let end = heldEnd || sentEnd || pendingEnd
      self = Lane()
      return (all, end)
    }
  }

  /// Place in the chain of all plugins.
  let place: Int
  let callbacks: CallbackSet
  /// The most that it may hold back of one direction.
  let bufferBytes: Int
  var meeting = Meeting.unseen
  var opening = Opening.notReached
  var link: WorkerLink?
  /// What the worker is counted to keep for the connection, in bytes; 0 where it keeps nothing.
  var held = 0
  /// A callback was completed there: the VM has state of this connection.
  var hasState = false
  var redispatches = Redispatches()
  /// The stream's `propertyVersion` that it was told of.
  var propertyVersion = 0
  /// It waits for a worker, or for room on its ring.
  var waits = false
  var upstreamCloseIsSaid = false
  private var down = Lane()
  private var up = Lane()

  init(place: Int, callbacks: CallbackSet, bufferBytes: Int) {
    self.place = place
    self.callbacks = callbacks
    self.bufferBytes = bufferBytes
  }

  subscript(direction: TCPDirection) -> Lane {
    _read { if direction == .downstream { yield down } else { yield up } }
    _modify { if direction == .downstream { yield &down } else { yield &up } }
  }

  /// Whether the plugin is asked about bytes of that direction.
  func sees(_ direction: TCPDirection) -> Bool { meeting != .dead && callbacks.contains(direction.callback) }
}

extension ByteBuffer {
  /// Appends the other's bytes, without a copy where this one is empty.
  mutating func take(_ other: ByteBuffer) {
    guard other.readableBytes > 0 else { return }
    if readableBytes == 0 { self = other } else { writeImmutableBuffer(other) }
  }

  /// Puts bytes in the place of a range of what is readable; a range beyond the end appends.
  mutating func splice(start: Int, length: Int, _ bytes: UnsafeRawBufferPointer) {
    let count = readableBytes
    let from = min(max(start, 0), count)
    let to = min(from &+ max(length, 0), count)
    if from == count {
      writeBytes(bytes)
      return
    }
    if to &- from == bytes.count {
      setBytes(bytes, at: readerIndex &+ from)
      return
    }
    var result = ByteBuffer()
    result.reserveCapacity(count &+ bytes.count)
    if let head = getSlice(at: readerIndex, length: from) { result.writeImmutableBuffer(head) }
    result.writeBytes(bytes)
    if let tail = getSlice(at: readerIndex &+ to, length: count &- to) { result.writeImmutableBuffer(tail) }
    self = result
  }
}
