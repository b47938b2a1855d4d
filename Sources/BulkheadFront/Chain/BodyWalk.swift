import BulkheadCore
import NIOCore

/// The way of one direction's body and trailers through the chain: a stage for each plugin that exports a callback for them.
///
/// A state machine: it holds the bytes and knows what each plugin is to be told next; the exchange does the telling. Bytes
/// stand in a stage's inbox until its plugin is shown them, are in flight while it looks, and are kept while it pauses.
/// Made only where a message with a body meets such a plugin. One event loop.
final class BodyWalk {
  /// What a plugin exports of a direction; worked out once for the chain.
  struct Role: Sendable {
    /// In the chain.
    var place: Int
    var hasBody: Bool
    var hasTrailers: Bool
  }

  struct Stage {
    let role: Role
    /// What passed the stages before it.
    fileprivate(set) var inbox = ByteQueue()
    /// Nothing comes behind the inbox but trailers.
    fileprivate(set) var inputEnded = false
    /// What the record that is not answered yet carries.
    fileprivate(set) var inFlight = ByteQueue()
    /// What the plugin has seen and holds back.
    fileprivate(set) var kept = ByteQueue()
    /// What it has seen, holds back and is not shown again; in front of `kept`.
    fileprivate(set) var aside = ByteQueue()
    /// What of `aside`, and of what it dropped, came from the stages before it, where that is something else.
    fileprivate(set) var asideOriginal: ByteQueue?
    /// So much is aside that nothing more is shown to it before it resumes.
    fileprivate(set) var isFull = false
    /// How much came of what is in `kept` and `aside`: the rest the plugin made.
    fileprivate(set) var came = 0
    /// What of `kept` came from the stages before it, where the plugin changed it and the stream would go on without it.
    fileprivate(set) var original: ByteQueue?
    /// There was more of that than may be kept.
    fileprivate(set) var originalIsLost = false
    fileprivate(set) var isPaused = false
    /// The plugin was told of the end: there is nothing more to tell it.
    fileprivate(set) var saidEnd = false
    fileprivate(set) var endPassed = false
    /// Bytes of `kept` that are counted as held by the worker.
    var counted = 0

    init(_ role: Role) { self.role = role }
  }

  enum Outstanding {
    case nothing
    case callback(stage: Int, link: WorkerLink, sequence: UInt64)
    /// A ready worker, or room on its ring.
    case admission(stage: Int)
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

  enum Work {
    case body
    case trailers
  }

  let isResponse: Bool
  /// In the order in which the bytes pass them.
  private(set) var stages: [Stage] = []
  private(set) var isActive = false
  /// Counts starts and stops: who goes on after something that may have changed all compares it.
  private(set) var run: UInt32 = 0
  var outstanding = Outstanding.nothing
  /// What passed the last stage.
  var output = ByteQueue()
  /// The end passed the last stage.
  private(set) var isDone = false
  /// The trailers as the stages so far have left them; nil while nobody has any.
  private(set) var trailers: HeaderMap?
  /// Nil where it is not at work as well.
  var activeTrailers: HeaderMap? { isActive ? trailers : nil }
  /// A plugin changed how many bytes there are.
  private(set) var hasChangedLength = false
  var isAdvancing = false
  /// What comes out is not taken fast enough.
  var isHeldBack = false
  var redispatches = Redispatches()

  init(isResponse: Bool) { self.isResponse = isResponse }

  /// Begins a message, which meets the plugins of those roles.
  func start(_ roles: some Sequence<Role>) {
    stop()
    stages.append(contentsOf: roles.lazy.map { Stage($0) })
    isActive = !stages.isEmpty
  }

  /// Forgets the message.
  func stop() {
    run &+= 1
    isActive = false
    stages.removeAll(keepingCapacity: true)
    outstanding = .nothing
    output.removeAll()
    isDone = false
    trailers = nil
    hasChangedLength = false
    isAdvancing = false
    isHeldBack = false
    redispatches = Redispatches()
  }

  // MARK: In

  func put(_ piece: ByteBuffer) {
    if isActive { stages[0].inbox.keep(piece) }
  }

  func end(_ trailers: Trailers) {
    guard isActive else { return }
    stages[0].inputEnded = true
    guard !trailers.isEmpty else { return }
    let map = HeaderMap()
    for (name, value) in trailers {
      var name = name
      name.withUTF8 { name in
        value.withUnsafeBytes { map.append(UnsafeRawBufferPointer(name), $0, name: .other) }
      }
    }
    self.trailers = map
  }

  /// Bytes that wait for a plugin to look at them.
  var queuedBytes: Int { stages.reduce(0) { $0 &+ $1.inbox.byteCount } }

  /// Nothing of the body, nor its end, has come.
  var isUntouched: Bool {
    output.isEmpty
      && !stages.contains {
        !$0.inbox.isEmpty || !$0.inFlight.isEmpty || !$0.kept.isEmpty || !$0.aside.isEmpty || $0.inputEnded
          || $0.saidEnd
      }
  }

  // MARK: On

  /// Moves what no plugin needs to be asked about.
  ///
  /// - Parameter isLeftOut: whether the plugin at that place has no part in the stream any more.
  func flow(isLeftOut: (Int) -> Bool) {
    for index in stages.indices {
      if isLeftOut(stages[index].role.place) {
        passAll(index)
        continue
      }
      if !stages[index].role.hasBody {
        var inbox = ByteQueue()
        swap(&inbox, &stages[index].inbox)
        push(&inbox, from: index)
      }
      if endNeedsNobody(index) { passEnd(index) }
    }
  }

  private func endNeedsNobody(_ index: Int) -> Bool {
    guard stages[index].inputEnded, !stages[index].saidEnd, !stages[index].isPaused, stages[index].inbox.isEmpty,
      stages[index].inFlight.isEmpty, !isOutstanding(index)
    else { return false }
    return hasTrailers ? !stages[index].role.hasTrailers : !stages[index].role.hasBody
  }

  var hasTrailers: Bool { trailers.map { !$0.entries.isEmpty } ?? false }

  /// What the stage's plugin is to be told next; nil where there is nothing, as long as nothing comes.
  func work(_ index: Int) -> Work? {
    // By their names: a copy of a stage retains all that it holds.
    guard !stages[index].saidEnd, !stages[index].endPassed, !stages[index].isFull else { return nil }
    let role = stages[index].role
    if role.hasBody, !stages[index].inbox.isEmpty { return .body }
    guard stages[index].inputEnded, stages[index].inbox.isEmpty else { return nil }
    guard hasTrailers else { return role.hasBody ? .body : nil }
    if role.hasTrailers { return .trailers }
    // It is not told of trailers, but what it holds back for the end has its end here.
    return role.hasBody && stages[index].isPaused ? .body : nil
  }

  /// Takes bytes out of the inbox to show them to the plugin.
  ///
  /// - Returns: whether nothing of the message follows them.
  func take(_ index: Int, atMost most: Int) -> Bool {
    let wasEmpty = stages[index].inbox.isEmpty
    var inFlight = ByteQueue()
    swap(&inFlight, &stages[index].inFlight)
    stages[index].inbox.move(atMost: most, to: &inFlight)
    swap(&inFlight, &stages[index].inFlight)
    guard stages[index].inputEnded, stages[index].inbox.isEmpty, wasEmpty || !hasTrailers else { return false }
    stages[index].saidEnd = true
    return true
  }

  func saysTrailers(_ index: Int) { stages[index].saidEnd = true }

  /// The record did not go out, or its worker is gone and another is to take it.
  func takeBack(_ index: Int) {
    var inFlight = ByteQueue()
    swap(&inFlight, &stages[index].inFlight)
    stages[index].inbox.takeBefore(&inFlight)
    stages[index].saidEnd = false
  }

  /// The plugin has looked: what was shown to it is behind what it kept.
  func seen(_ index: Int, bound: Int) {
    var inFlight = ByteQueue()
    swap(&inFlight, &stages[index].inFlight)
    if var original = stages[index].original {
      stages[index].original = nil
      var copy = inFlight
      original.take(&copy)
      keepOriginal(index, original, bound: bound)
    }
    stages[index].came &+= inFlight.byteCount
    stages[index].kept.take(&inFlight)
  }

  /// Does one edit of what the plugin holds.
  ///
  /// - Parameter keepsOriginal: the stream would go on with what was there before.
  func splice(
    _ index: Int, start: UInt32, length: UInt32, _ value: UnsafeRawBufferPointer, keepsOriginal: Bool, bound: Int
  ) {
    if keepsOriginal, stages[index].original == nil, !stages[index].originalIsLost {
      keepOriginal(index, stages[index].kept, bound: bound)
    }
    let before = stages[index].kept.byteCount
    stages[index].kept.splice(start: Int(start), length: Int(length), value)
    if stages[index].kept.byteCount != before { hasChangedLength = true }
  }

  private func keepOriginal(_ index: Int, _ bytes: ByteQueue, bound: Int) {
    stages[index].originalIsLost = bytes.byteCount > bound
    stages[index].original = stages[index].originalIsLost ? nil : bytes
  }

  /// The plugin holds back.
  ///
  /// - Parameters:
  ///   - keepsOriginal: the stream would go on with what was there before.
  ///   - bound: the most that is kept of that, and that is aside before nothing more is shown, in bytes.
  func pause(_ index: Int, _ how: Pause = .buffer, keepsOriginal: Bool = false, bound: Int = .max) {
    stages[index].isPaused = true
    guard how != .buffer, !stages[index].kept.isEmpty || stages[index].original != nil else { return }
    var kept = ByteQueue()
    swap(&kept, &stages[index].kept)
    let differs = how == .noBuffer || stages[index].original != nil || stages[index].asideOriginal != nil
    if keepsOriginal, differs, !stages[index].originalIsLost {
      var came = stages[index].original ?? kept
      var whole = stages[index].asideOriginal ?? stages[index].aside
      whole.take(&came)
      stages[index].originalIsLost = whole.byteCount > bound
      stages[index].asideOriginal = stages[index].originalIsLost ? nil : whole
    }
    stages[index].original = nil
    if how == .watermark {
      stages[index].aside.take(&kept)
      stages[index].isFull = stages[index].aside.byteCount >= bound
    } else {
      stages[index].came = min(stages[index].came, stages[index].aside.byteCount)
      if !kept.isEmpty { hasChangedLength = true }
    }
  }

  /// How much more there is of what the plugin holds than came to it.
  func madeBytes(_ index: Int) -> Int {
    stages[index].aside.byteCount &+ stages[index].kept.byteCount &- stages[index].came
  }

  /// The plugin lets go of what it holds.
  func release(_ index: Int) {
    stages[index].isPaused = false
    stages[index].isFull = false
    stages[index].original = nil
    stages[index].asideOriginal = nil
    stages[index].originalIsLost = false
    stages[index].came = 0
    var held = ByteQueue()
    swap(&held, &stages[index].aside)
    push(&held, from: index)
    var kept = ByteQueue()
    swap(&kept, &stages[index].kept)
    push(&kept, from: index)
    // A record that carries the end may still be on its way.
    if stages[index].saidEnd, !isOutstanding(index) { passEnd(index) }
  }

  /// The stream goes on without the plugin: what it held passes as it came.
  private func passAll(_ index: Int) {
    if isOutstanding(index) { outstanding = .nothing }
    guard !stages[index].endPassed else { return }
    var bytes = stages[index].asideOriginal ?? stages[index].aside
    var kept = stages[index].original ?? stages[index].kept
    bytes.take(&kept)
    if stages[index].original != nil || stages[index].asideOriginal != nil { hasChangedLength = true }
    stages[index].original = nil
    stages[index].asideOriginal = nil
    stages[index].isFull = false
    stages[index].aside.removeAll()
    stages[index].kept.removeAll()
    var inFlight = ByteQueue()
    swap(&inFlight, &stages[index].inFlight)
    bytes.take(&inFlight)
    var inbox = ByteQueue()
    swap(&inbox, &stages[index].inbox)
    bytes.take(&inbox)
    stages[index].isPaused = false
    push(&bytes, from: index)
    if stages[index].inputEnded { passEnd(index) }
  }

  private func isOutstanding(_ index: Int) -> Bool {
    switch outstanding {
    case .nothing: false
    case .callback(let stage, _, _): stage == index
    case .admission(let stage): stage == index
    }
  }

  private func push(_ bytes: inout ByteQueue, from index: Int) {
    guard !bytes.isEmpty else { return }
    if index + 1 < stages.count { stages[index + 1].inbox.take(&bytes) } else { output.take(&bytes) }
  }

  private func passEnd(_ index: Int) {
    guard !stages[index].endPassed else { return }
    stages[index].endPassed = true
    if index + 1 < stages.count { stages[index + 1].inputEnded = true } else { isDone = true }
  }

  // MARK: Looking

  func index(of place: Int) -> Int? { stages.firstIndex { $0.role.place == place } }

  /// The stage whose callback, or whose turn, the walk waits for.
  var waitingStage: Int? {
    switch outstanding {
    case .nothing: nil
    case .callback(let stage, _, _): stage
    case .admission(let stage): stage
    }
  }

  func waitsForAdmission(_ place: Int) -> Bool {
    if case .admission(let stage) = outstanding { return stages[stage].role.place == place }
    return false
  }

  /// The place of a plugin that has been told everything and holds back: nobody else can move the stream.
  var pausingPlace: Int? {
    guard case .nothing = outstanding else { return nil }
    return stages.first { $0.isPaused && ($0.saidEnd || $0.isFull) && !$0.endPassed }?.role.place
  }

  /// The trailers where the plugin at `index` may edit them or make them: its callback that tells of the end runs, or it
  /// pauses there.
  func editableTrailers(_ index: Int) -> HeaderMap? {
    guard stages[index].saidEnd, !stages[index].endPassed else { return nil }
    if trailers == nil { trailers = HeaderMap() }
    return trailers
  }

  /// The trailers as they leave.
  func finalTrailers() -> Trailers { trailers?.fields ?? [] }

  func count(_ index: Int, as bytes: Int) { stages[index].counted = bytes }
}
