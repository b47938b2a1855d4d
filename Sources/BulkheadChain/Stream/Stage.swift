import BulkheadCore

/// One direction's bytes at one plugin: those that it has not seen, those that it is shown now, and those that it has seen
/// and holds back.
///
/// A value without I/O: `Passage` moves bytes from stage to stage, `FilterStream` makes the callbacks.
public struct Stage {
  /// What a plugin exports of a direction; worked out once for the chain.
  public struct Role: Sendable {
    /// In the chain.
    public var place: Int
    var hasBytes: Bool
    var hasTrailers: Bool
  }

  /// What the stage waits for.
  enum Awaiting {
    case nothing
    /// - Parameter worker: its number; the number alone, so that looking at it costs nothing.
    case callback(worker: UInt64, sequence: UInt64)
    /// A worker, or room in one.
    case admission
  }

  /// How far the end of the direction has come.
  enum End: Comparable {
    /// More may come.
    case open
    /// Nothing comes behind the inbox but trailers.
    case came
    /// The plugin was told of it.
    case said
    /// It has gone on to the next stage.
    case passed
  }

  enum Hold {
    case nothing
    /// The plugin lets nothing go on.
    case paused
    /// So much is aside that nothing more is shown to it before it resumes.
    case full
  }

  /// What becomes of what a plugin was shown and pauses with.
  enum Pause {
    /// It is shown again, with what follows.
    case buffer
    /// It waits, and is not shown again.
    case watermark
    /// It is gone.
    case noBuffer
  }

  /// What a plugin is told next.
  enum Work {
    case bytes
    case trailers
  }

  let role: Role
  var awaiting = Awaiting.nothing
  /// What passed the stages before it.
  private(set) var inbox = ByteQueue()
  /// What the callback that is not answered yet carries.
  private(set) var inFlight = ByteQueue()
  /// What the plugin has seen and holds back.
  private(set) var kept = ByteQueue()
  /// What it has seen, holds back and is not shown again; in front of `kept`.
  private(set) var aside = ByteQueue()
  private(set) var end = End.open
  private(set) var hold = Hold.nothing
  /// Bytes of `kept` that are counted as kept by the worker.
  var counted = 0

  /// What of `kept` came from the stage before, where the plugin changed it and the stream would go on without the plugin.
  private var original: ByteQueue?
  /// The same of `aside`, and of what it dropped.
  private var asideOriginal: ByteQueue?
  /// There was more of that than may be kept.
  private(set) var originalIsLost = false
  /// How much of what is in `kept` and `aside` came: the rest the plugin made.
  private var came = 0

  init(_ role: Role) { self.role = role }

  /// The plugin holds bytes, or the end, back until it is resumed.
  public var isPaused: Bool { hold != .nothing }
  /// No callback of these bytes is outstanding or waits to be made.
  public var isIdle: Bool { if case .nothing = awaiting { true } else { false } }

  /// Nothing of the body, nor its end, has come.
  var isUntouched: Bool { end == .open && inbox.isEmpty && inFlight.isEmpty && kept.isEmpty && aside.isEmpty }

  /// How much more there is of what the plugin holds than came to it.
  var madeBytes: Int { aside.byteCount &+ kept.byteCount &- came }

  /// It has been told everything and holds back: nobody else can move the stream.
  var isStuck: Bool { isIdle && (hold == .full || (hold == .paused && end == .said)) }

  // MARK: In

  mutating func put(_ bytes: inout ByteQueue) { inbox.take(&bytes) }

  mutating func put(_ piece: ByteChunk) { inbox.keep(piece) }

  mutating func inputEnds() { if end == .open { end = .came } }

  // MARK: Showing

  /// What the plugin is to be told next; nil where there is nothing, as long as nothing comes.
  func work(hasTrailers: Bool) -> Work? {
    guard end < .said, hold != .full else { return nil }
    if role.hasBytes, !inbox.isEmpty { return .bytes }
    guard end == .came, inbox.isEmpty else { return nil }
    guard hasTrailers else { return role.hasBytes ? .bytes : nil }
    if role.hasTrailers { return .trailers }
    // It is not told of trailers, but what it holds back for the end has its end here.
    return role.hasBytes && isPaused ? .bytes : nil
  }

  /// Whether the end may go on without a word to the plugin.
  func endNeedsNobody(hasTrailers: Bool) -> Bool {
    guard end == .came, !isPaused, isIdle, inbox.isEmpty, inFlight.isEmpty else { return false }
    return hasTrailers ? !role.hasTrailers : !role.hasBytes
  }

  /// Takes bytes out of the inbox to show them to the plugin.
  ///
  /// - Returns: whether nothing of the direction follows them.
  mutating func show(atMost most: Int, hasTrailers: Bool) -> Bool {
    let wasEmpty = inbox.isEmpty
    inbox.move(atMost: most, to: &inFlight)
    guard end == .came, inbox.isEmpty, wasEmpty || !hasTrailers else { return false }
    end = .said
    return true
  }

  mutating func showTrailers() { end = .said }

  /// The callback was not made, or its worker is gone and another one is to have it.
  mutating func takeBack() {
    inbox.takeBefore(&inFlight)
    inFlight.removeAll()
    if end == .said { end = .came }
  }

  /// The plugin has looked: what was shown to it is behind what it holds.
  ///
  /// - Parameter bound: the most that is kept of what came, where the plugin has changed it: bytes.
  mutating func seen(bound: Int) {
    if var all = original {
      original = nil
      var copy = inFlight
      all.take(&copy)
      keepOriginal(all, bound: bound)
    }
    came &+= inFlight.byteCount
    kept.take(&inFlight)
  }

  // MARK: What the plugin does

  /// Does one edit of what the plugin holds.
  ///
  /// - Parameter keepsOriginal: the stream would go on with what was there before.
  /// - Returns: whether there are more or fewer bytes than before.
  mutating func splice(
    start: UInt32, length: UInt32, _ value: UnsafeRawBufferPointer, keepsOriginal: Bool, bound: Int
  ) -> Bool {
    if keepsOriginal, original == nil, !originalIsLost { keepOriginal(kept, bound: bound) }
    let before = kept.byteCount
    kept.splice(start: Int(start), length: Int(length), value)
    return kept.byteCount != before
  }

  private mutating func keepOriginal(_ bytes: ByteQueue, bound: Int) {
    originalIsLost = bytes.byteCount > bound
    original = originalIsLost ? nil : bytes
  }

  /// The plugin holds back.
  ///
  /// - Parameters:
  ///   - keepsOriginal: the stream would go on with what was there before.
  ///   - bound: the most that is kept of that, and that is aside before nothing more is shown, in bytes.
  /// - Returns: whether bytes are gone.
  mutating func pause(_ how: Pause = .buffer, keepsOriginal: Bool = false, bound: Int = .max) -> Bool {
    if hold == .nothing { hold = .paused }
    guard how != .buffer, !kept.isEmpty || original != nil else { return false }
    var kept = ByteQueue()
    swap(&kept, &self.kept)
    let differs = how == .noBuffer || original != nil || asideOriginal != nil
    if keepsOriginal, differs, !originalIsLost {
      var came = original ?? kept
      var whole = asideOriginal ?? aside
      whole.take(&came)
      originalIsLost = whole.byteCount > bound
      asideOriginal = originalIsLost ? nil : whole
    }
    original = nil
    if how == .watermark {
      aside.take(&kept)
      hold = aside.byteCount >= bound ? .full : .paused
      return false
    }
    came = min(came, aside.byteCount)
    return !kept.isEmpty
  }

  /// The plugin lets go of what it holds.
  mutating func release() -> ByteQueue {
    hold = .nothing
    original = nil
    asideOriginal = nil
    originalIsLost = false
    came = 0
    var held = ByteQueue()
    swap(&held, &aside)
    held.take(&kept)
    return held
  }

  /// All that is here, in order and as it came: the plugin has no more say in it.
  ///
  /// - Returns: also whether that is something else than what the plugin had made of it.
  mutating func takeAll() -> (bytes: ByteQueue, wasChanged: Bool) {
    awaiting = .nothing
    let wasChanged = original != nil || asideOriginal != nil
    var bytes = asideOriginal ?? aside
    var seen = original ?? kept
    bytes.take(&seen)
    bytes.take(&inFlight)
    bytes.take(&inbox)
    original = nil
    asideOriginal = nil
    hold = .nothing
    aside.removeAll()
    kept.removeAll()
    came = 0
    return (bytes, wasChanged)
  }

  /// What the plugin needs not be shown.
  mutating func takeInbox() -> ByteQueue {
    var bytes = ByteQueue()
    swap(&bytes, &inbox)
    return bytes
  }

  mutating func endPasses() { end = .passed }
}
