import BulkheadCore

/// One direction of a stream on its way through the chain: its head, its bytes at each plugin, its trailers, and what has
/// come out.
///
/// Without I/O. The head is a request's or a response's headers, or the news of a TCP connection. Bytes stay behind
/// it: a plugin is shown them once it has let the head pass, or has asked for them (`StopIteration`).
public final class Passage {
  /// Where the head is.
  public enum Head: Sendable {
    /// There is none yet, or it is of no use any more.
    case none
    /// At the plugin at that place in the chain.
    case at(Int, Wait)
    /// All plugins have let it pass.
    case passed
  }

  /// What a head waits for.
  public enum Wait: Sendable {
    /// The plugin's callback is yet to be made.
    case turn
    /// - Parameter worker: its number; the number alone, so that looking at it costs nothing.
    case callback(worker: UInt64, sequence: UInt64)
    /// A worker of the plugin, or room in one.
    case admission
    /// The plugin paused the stream and must resume it.
    ///
    /// - Parameters:
    ///   - bytesRun: the callbacks of the bytes come meanwhile, and may let the head go too.
    ///   - since: CLOCK_MONOTONIC, ns.
    case resumption(bytesRun: Bool, since: UInt64)
  }

  let direction: Direction
  /// The headers; empty in a TCP connection.
  public let headers = HeaderMap()
  /// Where the head is; a plugin's place counts in the stream's chain.
  public var head = Head.none
  /// Nothing follows the head.
  var endsWithHead = false
  /// One for each plugin that is told of the bytes or of the trailers, in the order in which they pass.
  public internal(set) var stages: [Stage] = []
  /// What has passed the last stage and was not taken.
  public var output = ByteQueue()
  /// The end has passed the last stage.
  public private(set) var isWhole = false
  /// The end has come from the sender.
  private(set) var hasEnded = false
  /// What came out is not taken fast enough, so that a plugin is not told what it could be.
  var isHeldBack = false
  /// A plugin has changed how many bytes there are.
  public private(set) var hasChangedLength = false
  /// The trailers as the stages so far have left them; nil while nobody has any.
  private(set) var trailerMap: HeaderMap?
  private var plainTrailers: Trailers = []

  /// The callback for the head is yet to be made, or the head to leave the chain.
  @inline(__always)
  var isInTurn: Bool { if case .at(_, .turn) = head { true } else { false } }

  /// All plugins have let the head pass, or there is none that they would be asked about.
  @inline(__always)
  var hasHeadPassed: Bool { if case .passed = head { true } else { false } }

  init(_ direction: Direction) { self.direction = direction }

  /// Everything is as the next stream finds it; the memory of lists and header maps stays.
  func reset() {
    headers.reset()
    drop()
    endsWithHead = false
  }

  /// Forgets what is on its way: an answer goes in its place, or nobody takes it.
  func drop() {
    head = .none
    if !stages.isEmpty { stages.removeAll(keepingCapacity: true) }
    output.removeAll()
    isWhole = false
    hasEnded = false
    isHeldBack = false
    hasChangedLength = false
    if trailerMap != nil { trailerMap = nil }
    if !plainTrailers.isEmpty { plainTrailers = [] }
  }

  /// Begins with the plugins of those roles, of which there were none.
  func open(_ roles: [Stage.Role], endsWithHead: Bool = false) {
    if !roles.isEmpty { for role in roles { stages.append(Stage(role)) } }
    self.endsWithHead = endsWithHead
  }

  /// There are no bytes.
  func dropBytes() {
    stages.removeAll(keepingCapacity: true)
    output.removeAll()
    trailerMap = nil
    plainTrailers = []
    hasEnded = true
    isWhole = true
  }

  func stage(of place: Int) -> Int? {
    for index in stages.indices where stages[index].role.place == place { return index }
    return nil
  }

  // MARK: In

  /// - Parameter stays: it may stay for long where no plugin looks at it: small pieces gather in one buffer.
  func put(_ piece: ByteChunk, stays: Bool) {
    if !stages.isEmpty {
      stages[0].put(piece)
    } else if stays {
      output.keep(piece)
    } else {
      output.append(piece)
    }
  }

  /// The end has come.
  func end(_ trailers: Trailers) {
    guard !hasEnded else { return }
    hasEnded = true
    guard !stages.isEmpty else {
      plainTrailers = trailers
      isWhole = true
      return
    }
    stages[0].inputEnds()
    guard !trailers.isEmpty else { return }
    let map = HeaderMap()
    for (name, value) in trailers {
      var name = name
      name.withUTF8 { name in
        value.withUnsafeBytes { map.append(UnsafeRawBufferPointer(name), $0, name: .other) }
      }
    }
    trailerMap = map
  }

  // MARK: On

  /// Moves what no plugin needs to be asked about.
  ///
  /// - Parameters:
  ///   - isLeftOut: whether the plugin at that place has no part in the stream any more.
  ///   - endPassed: told each place that the end has passed.
  func flow(isLeftOut: (Int) -> Bool, endPassed: (Int) -> Void = { _ in }) {
    for index in stages.indices {
      if isLeftOut(stages[index].role.place) {
        passAll(index, endPassed)
        continue
      }
      if !stages[index].role.hasBytes, !stages[index].inbox.isEmpty {
        var inbox = stages[index].takeInbox()
        push(&inbox, from: index)
      }
      if stages[index].endNeedsNobody(hasTrailers: hasTrailers) { passEnd(index, endPassed) }
    }
  }

  /// Trailers have come or were made, and are not all taken away.
  public var hasTrailers: Bool { trailerMap.map { !$0.entries.isEmpty } ?? false }

  /// The plugin lets go of what it holds.
  func release(_ index: Int, endPassed: (Int) -> Void = { _ in }) {
    var held = stages[index].release()
    push(&held, from: index)
    // A record that carries the end may still be on its way.
    if stages[index].end == .said, stages[index].isIdle { passEnd(index, endPassed) }
  }

  func splice(
    _ index: Int, start: UInt32, length: UInt32, _ value: UnsafeRawBufferPointer, keepsOriginal: Bool, bound: Int
  ) {
    let isOther = stages[index].splice(
      start: start, length: length, value, keepsOriginal: keepsOriginal, bound: bound)
    if isOther { hasChangedLength = true }
  }

  func pause(_ index: Int, _ how: Stage.Pause = .buffer, keepsOriginal: Bool = false, bound: Int = .max) {
    if stages[index].pause(how, keepsOriginal: keepsOriginal, bound: bound) { hasChangedLength = true }
  }

  /// The stream goes on without the plugin: what it held passes as it came.
  private func passAll(_ index: Int, _ endPassed: (Int) -> Void) {
    guard stages[index].end < .passed else { return }
    var (bytes, wasChanged) = stages[index].takeAll()
    if wasChanged { hasChangedLength = true }
    push(&bytes, from: index)
    if stages[index].end > .open { passEnd(index, endPassed) }
  }

  private func push(_ bytes: inout ByteQueue, from index: Int) {
    guard !bytes.isEmpty else { return }
    if index + 1 < stages.count { stages[index + 1].put(&bytes) } else { output.take(&bytes) }
  }

  private func passEnd(_ index: Int, _ endPassed: (Int) -> Void) {
    guard stages[index].end < .passed else { return }
    stages[index].endPasses()
    endPassed(stages[index].role.place)
    if index + 1 < stages.count { stages[index + 1].inputEnds() } else { isWhole = true }
  }

  // MARK: Looking

  /// Whether the plugin at that place has let the head pass, or is shown the bytes while it holds the head.
  func bytesMayReach(_ place: Int) -> Bool {
    switch head {
    case .none, .passed: return true
    case .at(let position, .resumption(bytesRun: true, _)) where position == place: return true
    case .at(let position, _): return direction == .request ? position > place : position < place
    }
  }

  /// The head waits at that place for what the plugin says to the bytes.
  func headWaitsForBytes(_ place: Int) -> Bool {
    if case .at(place, .resumption(bytesRun: true, _)) = head { return true }
    return false
  }

  /// The plugin at that place holds the head, or bytes.
  func isPaused(by place: Int) -> Bool {
    if case .at(place, .resumption) = head { return true }
    return stage(of: place).map { stages[$0].isPaused } ?? false
  }

  /// The place of a plugin that holds back and that nobody else can move; nil where there is none.
  public var stuckAt: Int? {
    if case .at(let place, .resumption(bytesRun: false, _)) = head { return place }
    return stages.first { $0.isStuck }?.role.place
  }

  func waitsForAdmission(_ place: Int, isHead: Bool) -> Bool {
    if isHead {
      if case .at(place, .admission) = head { return true }
      return false
    }
    guard let index = stage(of: place), case .admission = stages[index].awaiting else { return false }
    return true
  }

  /// Bytes that wait for a plugin to look at them.
  var queuedBytes: Int { sum { stages[$0].inbox.byteCount } }

  /// Bytes that plugins look at now.
  var bytesInFlight: Int { sum { stages[$0].inFlight.byteCount } }

  /// Over the stages by their places in the list: a stage itself would be copied with all that it holds.
  @inline(__always)
  private func sum(_ count: (Int) -> Int) -> Int {
    var sum = 0
    for index in stages.indices { sum &+= count(index) }
    return sum
  }

  /// Bytes on their way through the chain, without those that plugins hold back on purpose.
  public var bytesUnderWay: Int {
    stages.isEmpty ? output.byteCount : output.byteCount &+ queuedBytes &+ bytesInFlight
  }

  /// Nothing of the body, nor its end, has come.
  public var isUntouched: Bool { output.isEmpty && !isWhole && !stages.contains { !$0.isUntouched } }

  /// The trailers where the plugin at that place may edit them or make them: its callback that tells of the end runs, or it
  /// pauses there.
  func editableTrailers(_ place: Int) -> HeaderMap? {
    guard let index = stage(of: place), stages[index].end == .said else { return nil }
    if trailerMap == nil { trailerMap = HeaderMap() }
    return trailerMap
  }

  /// The trailers as they leave; of use once the direction is whole.
  public var trailers: Trailers { trailerMap?.fields ?? plainTrailers }
}
