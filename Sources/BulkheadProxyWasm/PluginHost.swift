import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// Why a plugin cannot be served any longer.
public enum PluginFailure: Error, Sendable, Equatable, CustomStringConvertible {
  /// The guest's run is over; whoever made it knows why.
  case stopped
  /// `proxy_on_vm_start` or `proxy_on_configure` returned false.
  case refused(GuestExport)
  /// There is no memory for what it holds back of a body.
  case outOfMemory
  /// The front sent a record that does not fit what came before.
  case protocolViolation(String)

  public var description: String {
    switch self {
    case .stopped: "the guest stopped"
    case .refused(let export): "\(export.name) returned false: the plugin refuses its configuration"
    case .outOfMemory: "the worker has no memory left for the body that the plugin holds back"
    case .protocolViolation(let what): what
    }
  }
}

/// One plugin: its contexts, its callbacks and its hostcalls, over a guest that may do anything.
///
/// Contexts are numbered as in the specification ("Context lifecycle"): 0 is the VM, 1 the plugin's root context, streams
/// follow. One thread; it calls into the guest and is called back from there (`hostcall`) on the same stack.
public final class PluginHost {
  /// The most of a stream's `x-request-id` that goes with a log line, in bytes.
  public static let maximumRequestIDBytes = 128
  /// The plugin's own context.
  static let rootID: UInt32 = 1
  private static let maximumSpares = 64
  /// The most bytes of actions that wait for the end of a callback; what is over goes at once.
  private static let maximumPendingBytes = 4 << 20

  let guest: any Guest
  let services: any HostServices
  let configuration: PluginConfiguration

  private var byID = ContextTable()
  private var byStream = ContextTable()
  private var spares: [StreamContext] = []
  private var heldOrder: [UInt32] = []
  private var heldBytes = 0
  /// The bytes of what the plugin set with `proxy_set_property`, over all contexts.
  var ownPropertyBytes = 0
  private(set) var finished: [StreamContext] = []
  private var touched: [StreamContext] = []
  private var nextID: UInt32 = 2

  /// The stream whose callback runs; nil for the root's.
  var current: StreamContext?
  /// The stream that hostcalls act upon; nil for the root.
  var active: StreamContext?
  let main: ReplyBuilder
  /// Buffers 6 and 7, where they stay.
  let configurations: ConfigurationBuffers
  /// What the plugin may not use.
  let capabilities: Capabilities
  /// Which of its callbacks runs.
  var kind = CallbackKind.none
  /// `proxy_continue_stream` was called inside the callback that it is about.
  var isResumed = false
  private var spareBuilders: [ReplyBuilder] = []
  /// The event loop whose record runs; 0 outside one.
  var runningLoop = 0
  /// The bytes of actions that wait, but for what the one handed out last has grown by since.
  private var pendingBytes = 0
  private var lastPending: ReplyBuilder?
  private var lastPendingBytes = 0
  /// What the plugin wants of its own, by event loop, where no reply can carry it.
  private var rootPending: [(loop: Int, builder: ReplyBuilder)] = []
  let callouts: CalloutTable
  let metrics = MetricLedger()
  let answer: RootAnswer
  let foreign = ForeignState()
  /// The guest's allocator runs: hostcalls that would change what the caller holds are refused meanwhile.
  var isAllocating = false
  /// The period of `proxy_on_tick`; 0 where it is off.
  public internal(set) var tickPeriodMilliseconds: UInt32 = 0
  /// What `setTempRet0` set.
  var temporaryResult: UInt32 = 0
  /// What the plugin called and may not, by `HostImport.number`.
  var refusedImports: Set<UInt32> = []
  /// The upstreams that it tried to reach and may not, as far as they were said.
  var refusedUpstreams: Set<String> = []
  var scratch = ByteArena()
  /// The memory of header maps and properties.
  let spareMemory = SpareMemory()
  /// The memory of bodies.
  let blocks = BodyBlocks()
  /// Properties that the plugin set outside any stream.
  let rootProperties: StreamContext
  /// Lines of the guest's standard output and error that have no end yet.
  let output = OutputLines()

  /// - Parameters:
  ///   - guest: instantiated with this host's hostcalls; retained.
  ///   - services: retained.
  ///   - callTokens: numbers calls out; shared by the VMs of a process.
  public init(
    guest: any Guest, services: any HostServices, configuration: PluginConfiguration,
    callTokens: CallTokens = CallTokens()
  ) {
    callouts = CalloutTable(callTokens)
    answer = RootAnswer(spareMemory)
    self.guest = guest
    self.services = services
    self.configuration = configuration
    main = ReplyBuilder(maximumBytes: configuration.maximumReply)
    main.metrics = metrics
    rootProperties = StreamContext(blocks, spareMemory)
    configurations = ConfigurationBuffers(configuration)
    capabilities = Capabilities(allowed: configuration.capabilities)
  }

  // MARK: Start

  /// Initialises the guest ("Integration"), makes the root context, and runs `proxy_on_vm_start` and
  /// `proxy_on_configure`.
  ///
  /// - Parameter willCall: told of each of the two before it runs.
  /// - Throws: `PluginFailure.stopped` or `.refused`.
  public func start(willCall: (CallbackKind) -> Void = { _ in }) throws(PluginFailure) {
    willCall(.vmStart)
    kind = .vmStart
    if guest.exports(.initialize) {
      try call(.initialize)
      if guest.exports(.main) {
        try call(.main)
      } else if guest.exports(.mainVoid) {
        try call(.mainVoid)
      }
    } else if guest.exports(.start) {
      try call(.start)
    }
    try call(.contextCreate, Self.rootID, 0)
    if exports(.vmStart) {
      let size = UInt32(clamping: configuration.vmConfiguration.count)
      guard try call(.vmStart, Self.rootID, size) != 0 else { throw .refused(.vmStart) }
    }
    willCall(.configure)
    kind = .configure
    if exports(.configure) {
      let size = UInt32(clamping: configuration.pluginConfiguration.count)
      guard try call(.configure, Self.rootID, size) != 0 else { throw .refused(.configure) }
    }
    try settle()
    kind = .none
  }

  /// Whether the guest has the function and the plugin may be called by it.
  @inline(__always)
  func exports(_ export: GuestExport) -> Bool { guest.exports(export) && capabilities.allow(export) }

  @discardableResult
  func call(
    _ export: GuestExport, _ a: UInt32 = 0, _ b: UInt32 = 0, _ c: UInt32 = 0, _ d: UInt32 = 0, _ e: UInt32 = 0
  ) throws(PluginFailure) -> UInt32 {
    guard exports(export) else { return 0 }
    active = current
    do throws(GuestStopped) {
      return try guest.call(export, a, b, c, d, e)
    } catch {
      throw .stopped
    }
  }

  // MARK: Callbacks

  /// Whether ticks are to be made.
  public var wantsTicks: Bool { tickPeriodMilliseconds > 0 && exports(.tick) }

  /// Runs `proxy_on_tick` on the root context.
  ///
  /// - Throws: `PluginFailure.stopped`.
  public func tick() throws(PluginFailure) {
    current = nil
    kind = .tick
    try call(.tick, Self.rootID)
    try settle()
  }

  /// Runs the callback of a record and replies to it; `streamDone` has no reply.
  ///
  /// - Parameters:
  ///   - record: borrowed during the call.
  ///   - loop: the front's event loop that it came from.
  /// - Throws: `PluginFailure.stopped`, `.outOfMemory`, or `.protocolViolation` where the record cannot follow those
  ///   before it.
  public func run(_ record: borrowing CallbackRecord, loop: Int) throws(PluginFailure) {
    runningLoop = loop
    defer { runningLoop = 0 }
    if record.kind.subject == .root { return try runRoot(record, loop: loop) }
    let context = try context(for: record, loop: loop)
    current = context
    defer { current = nil }
    if !record.requestHeaderBytes.isEmpty {
      context.forward.headers.load(record.requestHeaderBytes, count: record.requestHeaders.count)
    }
    if !record.responseHeaderBytes.isEmpty {
      context.backward.headers.load(record.responseHeaderBytes, count: record.responseHeaders.count)
    }
    kind = record.kind
    isResumed = false
    if kind == .streamDone {
      context.endStream()
      forgetCalls(of: context)
    } else {
      main.begin(.callbackDone, stream: record.stream, sequence: record.sequence)
    }
    if record.flags.contains(.firstOfStream) { try call(.contextCreate, context.id, Self.rootID) }
    if kind == .streamDone {
      try runDone(context)
    } else {
      try runPiece(context, record)
    }
    current = nil
    try settle()
  }

  private func context(
    for record: borrowing CallbackRecord, loop: Int
  ) throws(PluginFailure) -> StreamContext {
    let key = StreamContext.key(loop: loop, stream: record.stream)
    if let context = byStream[key] {
      guard !record.flags.contains(.firstOfStream) else {
        throw .protocolViolation("the front began stream \(record.stream) a second time")
      }
      context.update(record: record)
      return context
    }
    guard record.flags.contains(.firstOfStream) else {
      throw .protocolViolation("the front sent a callback of stream \(record.stream), which it has not begun")
    }
    guard byID.count < configuration.maximumStreams else {
      throw .protocolViolation("the front opened more than \(configuration.maximumStreams) streams at once")
    }
    let context = spares.popLast() ?? StreamContext(blocks, spareMemory)
    context.begin(id: makeID(), loop: loop, record: record)
    byID.insert(UInt64(context.id), context)
    byStream.insert(key, context)
    return context
  }

  /// The next number that no context has: the counter may come round.
  private func makeID() -> UInt32 {
    while true {
      let id = nextID
      nextID = nextID == .max ? 2 : nextID &+ 1
      if byID[UInt64(id)] == nil { return id }
    }
  }

  private func runDone(_ context: StreamContext) throws(PluginFailure) {
    byStream.remove(context.key)
    let completed = exports(.done) ? try call(.done, context.id) != 0 : true
    if completed {
      try delete(context)
    } else {
      context.isHeld = true
      context.heldBytes = context.memoryBytes
      heldBytes &+= context.heldBytes
      heldOrder.append(context.id)
    }
  }

  private func delete(_ context: StreamContext) throws(PluginFailure) {
    current = context
    defer { current = nil }
    try call(.log, context.id)
    try call(.delete, context.id)
    byID.remove(UInt64(context.id))
    ownPropertyBytes &-= context.ownPropertyBytes
    context.end()
    if spares.count < Self.maximumSpares { spares.append(context) }
  }

  /// Ends what the callback that has just run finished, and sends what it wanted of other streams.
  func settle() throws(PluginFailure) {
    output.flush { level, line in emitLog(level, line) }
    while true {
      flushTouched()
      if let context = finished.popLast() {
        if context.isHeld { try release(context) }
      } else if holdsTooMuch, let context = heldOrder.first.flatMap({ byID[UInt64($0)] }) {
        warn(
          "the stream held longest was ended without proxy_done: a plugin may hold on to "
            + "\(configuration.maximumHeldStreams) streams after their end, which take at most "
            + "\(configuration.maximumHeldBytes) bytes")
        try release(context)
      } else {
        break
      }
    }
    active = nil
  }

  private var holdsTooMuch: Bool {
    heldOrder.count > configuration.maximumHeldStreams || heldBytes > configuration.maximumHeldBytes
  }

  private func release(_ context: StreamContext) throws(PluginFailure) {
    context.isHeld = false
    heldBytes &-= context.heldBytes
    heldOrder.removeAll { $0 == context.id }
    try delete(context)
  }

  private func flushTouched() {
    flushRoot()
    lastPending = nil
    pendingBytes = 0
    guard !touched.isEmpty else { return }
    for context in touched { flush(context) }
    touched.removeAll(keepingCapacity: true)
  }

  private func flush(_ context: StreamContext) {
    guard let builder = context.pending else { return }
    context.pending = nil
    if !builder.isEmpty { services.reply(builder.finish(), loop: context.loop) }
    recycle(builder)
  }

  private func recycle(_ builder: ReplyBuilder) {
    guard spareBuilders.count < Self.maximumSpares else { return }
    builder.trim()
    spareBuilders.append(builder)
  }

  /// Sends what waits for other streams than the one whose callback runs, where it has become much: one callback may be
  /// about any number of streams. What is about the running one stays behind its reply.
  private func boundPending() {
    if let lastPending {
      pendingBytes &+= lastPending.byteCount &- lastPendingBytes
      lastPendingBytes = lastPending.byteCount
    }
    guard pendingBytes > Self.maximumPendingBytes else { return }
    flushRoot()
    for context in touched where context !== current { flush(context) }
    touched.removeAll { $0 !== current }
    lastPending = nil
    pendingBytes = 0
  }

  /// Counts what the builder grows by from now on.
  private func handOut(_ builder: ReplyBuilder) -> ReplyBuilder {
    lastPending = builder
    lastPendingBytes = builder.byteCount
    return builder
  }

  // MARK: For the hostcalls

  /// Where what the plugin wants of a stream is collected: in the answer to its callback, or in an action of its own.
  func builder(for context: StreamContext) -> ReplyBuilder {
    if let current, current === context { return main }
    return pendingBuilder(for: context)
  }

  private func pendingBuilder(for context: StreamContext) -> ReplyBuilder {
    boundPending()
    if let pending = context.pending { return handOut(pending) }
    let builder = spareBuilders.popLast() ?? ReplyBuilder(maximumBytes: configuration.maximumReply)
    builder.begin(.streamAction, stream: context.stream, sequence: 0)
    context.pending = builder
    touched.append(context)
    return handOut(builder)
  }

  /// Where what the plugin wants of its own is collected: in the reply to the record that runs, else in an action.
  func rootBuilder(loop: Int) -> ReplyBuilder {
    if main.isOpen, loop == runningLoop { return main }
    boundPending()
    if let index = rootPending.firstIndex(where: { $0.loop == loop }) { return handOut(rootPending[index].builder) }
    let builder = spareBuilders.popLast() ?? ReplyBuilder(maximumBytes: configuration.maximumReply)
    builder.begin(.streamAction, stream: CallbackRecord.noStream, sequence: 0)
    rootPending.append((loop, builder))
    return handOut(builder)
  }

  /// Sends what the metrics ledger holds, ahead of the running callback's reply.
  func sendMetrics() {
    let builder = spareBuilders.popLast() ?? ReplyBuilder(maximumBytes: configuration.maximumReply)
    while !metrics.isEmpty {
      builder.begin(.streamAction, stream: CallbackRecord.noStream, sequence: 0)
      metrics.write(into: builder)
      // A record that has room for none of them has room for none ever.
      guard !builder.isEmpty else { break }
      services.reply(builder.finish(), loop: runningLoop)
    }
    metrics.clear()
    recycle(builder)
  }

  private func flushRoot() {
    if !metrics.isEmpty { sendMetrics() }
    guard !rootPending.isEmpty else { return }
    for (loop, builder) in rootPending {
      if !builder.isEmpty { services.reply(builder.finish(), loop: loop) }
      recycle(builder)
    }
    rootPending.removeAll(keepingCapacity: true)
  }

  /// The same for what is about one way of it. The answer to a callback of one way says nothing of the other: that goes
  /// in an action, behind it.
  func builder(for context: StreamContext, _ flow: Flow) -> ReplyBuilder {
    if let current, current === context, !context.otherWay(flow).isRunning { return main }
    return pendingBuilder(for: context)
  }

  /// The stream's context of that number, if it lives.
  func context(id: UInt32) -> StreamContext? { byID[UInt64(id)] }

  /// `proxy_done` on a context that waits for it: it ends when the running callback has.
  func finish(_ context: StreamContext) {
    context.isFinishing = true
    finished.append(context)
  }

  /// How many streams have a context.
  public var streamCount: Int { byID.count }

  /// The streams that have a context and that the front has not ended.
  public var openStreams: [(loop: Int, stream: UInt32)] { byStream.all.map { ($0.loop, $0.stream) } }

  /// Whether a stream that the front has not ended has a context.
  @inline(__always)
  public func knows(stream: UInt32, loop: Int) -> Bool {
    byStream[StreamContext.key(loop: loop, stream: stream)] != nil
  }
}
