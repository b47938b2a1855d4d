import BulkheadCore

/// What the supervisor tells the front: one SOCK_SEQPACKET datagram each, some with descriptors.
public enum FrontCommand: Equatable, Sendable {
  /// A worker is about to start, or serves already. Descriptors with it, in order: the channel's memfd, the read end of
  /// the liveness pipe, then one doorbell (the read end of a pipe) an event loop. The front maps the channel and holds callbacks back
  /// until `workerReady`.
  ///
  /// One that is `ofLane` takes no streams but suspects.
  case addWorker(worker: UInt64, plugin: UInt32, ofLane: Bool = false)
  /// The worker reported that it serves.
  case workerReady(worker: UInt64)
  /// Send it nothing new; what it owes is still taken until its liveness pipe closes.
  case retireWorker(worker: UInt64)
  /// Where the plugin stands: in `starting` and `backoff` streams may wait (admission), in `quarantined` none does.
  case pluginState(plugin: UInt32, state: PluginState)
  /// Stop accepting, finish what is in flight, then exit; reset what is left after the time.
  case drain(milliseconds: UInt32)
  /// Accept on the listeners, where the bootstrap held that back.
  case accept
  /// Another front takes the listening sockets: accept no more, keep each connection up to the end of its next response,
  /// then exit; reset what is left after the time.
  case handOver(milliseconds: UInt32)
  /// The metrics as Prometheus text, please: answered by `FrontEvent.metrics` with the same number.
  case collectMetrics(number: UInt32)
  /// Do all event loops run? Answered by `FrontEvent.pong` with the same number, once each of them has been there.
  case ping(number: UInt32)
  /// What was measured of each plugin, please: answered by `FrontEvent.statistics` with the same number.
  case collectStatistics(number: UInt32)
  /// The next generation of the chain, in a memfd that holds a `FrontBootstrap`, of which plugins and ring count: workers
  /// of the plugins that are new in it may be added, and no stream takes it yet.
  case prepareChain(generation: UInt32)
  /// Streams that begin from now on take the prepared chain. Answered by `FrontEvent.chainActivated`.
  case activateChain(generation: UInt32)
  /// The prepared chain is not wanted any more, nor are its new plugins.
  case discardChain(generation: UInt32)
  /// Write the access log to the descriptor that comes with it from now on: its file was opened again.
  case reopenAccessLog
  /// While the plugin has no worker, nor one that starts: when the next one is started, on CLOCK_MONOTONIC in ns; 0 where that is
  /// not known, or is over. Nobody waits for a start that comes too late.
  case nextStart(plugin: UInt32, due: UInt64)
  /// Where the plugin's lane for suspects stands: in `backoff` and `quarantined` suspects do not wait for it.
  case laneState(plugin: UInt32, state: PluginState)
  /// Forget what the plugin's killers look like.
  case clearSuspects(plugin: UInt32)
  /// Write shared data, queues and what was counted to the first file that comes with it, for another front; answered by
  /// `FrontEvent.stateLeft`. What is counted from then on belongs into the second one, at this front's end.
  case leaveState
  /// Take over what another front has written to the file that comes with it; answered by `FrontEvent.stateTaken`.
  case takeState
  /// Write lines of that level and above from now on.
  case logLevel(LogLevel)

  private enum Kind: UInt8 {
    case addWorker = 1
    case workerReady, retireWorker, pluginState, drain, collectMetrics
    case prepareChain = 40
    case activateChain, discardChain
    case collectStatistics = 56
    case accept = 32
    /// With `drain` (5), what the supervisor of a later version says to a front of this one: neither ever changes.
    case handOver = 33
    case ping = 50
    case reopenAccessLog = 60
    case nextStart = 70
    case laneState, clearSuspects
    /// Of the same kind as `handOver`: it never changes.
    case leaveState = 80
    case takeState
    case logLevel = 90
  }

  /// The bytes of the datagram, which `init` reads.
  public func encoded() -> [UInt8] {
    var writer = WireWriter(capacity: 64)
    switch self {
    case .nextStart(let plugin, let due):
      writer.u8(Kind.nextStart.rawValue)
      writer.u32(plugin)
      writer.u64(due)
    case .reopenAccessLog:
      writer.u8(Kind.reopenAccessLog.rawValue)
    case .leaveState:
      writer.u8(Kind.leaveState.rawValue)
    case .takeState:
      writer.u8(Kind.takeState.rawValue)
    case .logLevel(let level):
      writer.u8(Kind.logLevel.rawValue)
      writer.u8(level.rawValue)
    case .accept:
      writer.u8(Kind.accept.rawValue)
    case .handOver(let milliseconds):
      writer.u8(Kind.handOver.rawValue)
      writer.u32(milliseconds)
    case .addWorker(let worker, let plugin, let ofLane):
      writer.u8(Kind.addWorker.rawValue)
      writer.u64(worker)
      writer.u32(plugin)
      writer.bool(ofLane)
    case .laneState(let plugin, let state):
      writer.u8(Kind.laneState.rawValue)
      writer.u32(plugin)
      writer.u8(state.code)
    case .clearSuspects(let plugin):
      writer.u8(Kind.clearSuspects.rawValue)
      writer.u32(plugin)
    case .workerReady(let worker):
      writer.u8(Kind.workerReady.rawValue)
      writer.u64(worker)
    case .retireWorker(let worker):
      writer.u8(Kind.retireWorker.rawValue)
      writer.u64(worker)
    case .pluginState(let plugin, let state):
      writer.u8(Kind.pluginState.rawValue)
      writer.u32(plugin)
      writer.u8(state.code)
    case .drain(let milliseconds):
      writer.u8(Kind.drain.rawValue)
      writer.u32(milliseconds)
    case .collectMetrics(let number):
      writer.u8(Kind.collectMetrics.rawValue)
      writer.u32(number)
    case .ping(let number):
      writer.u8(Kind.ping.rawValue)
      writer.u32(number)
    case .collectStatistics(let number):
      writer.u8(Kind.collectStatistics.rawValue)
      writer.u32(number)
    case .prepareChain(let generation):
      writer.u8(Kind.prepareChain.rawValue)
      writer.u32(generation)
    case .activateChain(let generation):
      writer.u8(Kind.activateChain.rawValue)
      writer.u32(generation)
    case .discardChain(let generation):
      writer.u8(Kind.discardChain.rawValue)
      writer.u32(generation)
    }
    return writer.array
  }

  /// Reads a datagram of the supervisor.
  ///
  /// - Throws: `WireError` where the bytes are not exactly one command that this version knows.
  public init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = unsafe WireReader(bytes)
    guard let kind = Kind(rawValue: try reader.u8("command.kind")) else {
      throw WireError(.unknownValue, "command.kind")
    }
    switch kind {
    case .accept: self = .accept
    case .reopenAccessLog: self = .reopenAccessLog
    case .leaveState: self = .leaveState
    case .takeState: self = .takeState
    case .logLevel:
      guard let level = LogLevel(rawValue: try reader.u8("logLevel.level")) else {
        throw WireError(.unknownValue, "logLevel.level")
      }
      self = .logLevel(level)
    case .nextStart:
      self = .nextStart(plugin: try reader.u32("nextStart.plugin"), due: try reader.u64("nextStart.due"))
    case .handOver:
      self = .handOver(milliseconds: try reader.u32("handOver.milliseconds"))
    case .addWorker:
      self = .addWorker(
        worker: try reader.u64("addWorker.worker"), plugin: try reader.u32("addWorker.plugin"),
        ofLane: try reader.bool("addWorker.ofLane"))
    case .laneState:
      let plugin = try reader.u32("laneState.plugin")
      guard let state = PluginState(code: try reader.u8("laneState.state")) else {
        throw WireError(.unknownValue, "laneState.state")
      }
      self = .laneState(plugin: plugin, state: state)
    case .clearSuspects: self = .clearSuspects(plugin: try reader.u32("clearSuspects.plugin"))
    case .workerReady:
      self = .workerReady(worker: try reader.u64("workerReady.worker"))
    case .retireWorker:
      self = .retireWorker(worker: try reader.u64("retireWorker.worker"))
    case .pluginState:
      let plugin = try reader.u32("pluginState.plugin")
      guard let state = PluginState(code: try reader.u8("pluginState.state")) else {
        throw WireError(.unknownValue, "pluginState.state")
      }
      self = .pluginState(plugin: plugin, state: state)
    case .drain:
      self = .drain(milliseconds: try reader.u32("drain.milliseconds"))
    case .collectMetrics:
      self = .collectMetrics(number: try reader.u32("collectMetrics.number"))
    case .ping:
      self = .ping(number: try reader.u32("ping.number"))
    case .collectStatistics:
      self = .collectStatistics(number: try reader.u32("collectStatistics.number"))
    case .prepareChain: self = .prepareChain(generation: try reader.u32("prepareChain.generation"))
    case .activateChain: self = .activateChain(generation: try reader.u32("activateChain.generation"))
    case .discardChain: self = .discardChain(generation: try reader.u32("discardChain.generation"))
    }
    try reader.end("command")
  }
}

/// What the front tells the supervisor, which believes none of it without a check.
public enum FrontEvent: Equatable, Sendable {
  /// The listeners accept; said once.
  case serving
  /// The worker must go: a callback ran past its deadline, or it broke the protocol. `detail` is for people.
  case workerFault(worker: UInt64, reason: ExitReason, detail: String)
  /// The front has let go of the worker: its liveness pipe closed and its channel is unmapped.
  case workerGone(worker: UInt64)
  /// The front holds the worker's channel.
  case workerAttached(worker: UInt64)
  /// `drain` is done; the front exits next.
  case drained
  /// A piece of the answer to `collectMetrics`, in order: Prometheus text, cut anywhere between lines.
  case metrics(number: UInt32, isLast: Bool, text: String)
  /// All event loops run: the answer to `ping`.
  case pong(number: UInt32)
  /// A piece of the answer to `collectStatistics`: of each plugin once.
  case statistics(number: UInt32, isLast: Bool, plugins: [PluginStatistics])
  /// The worker was lost, or given up, in that callback (`CallbackKind`), which had run for so long. `requestID` is that
  /// of the stream, "" where it has none.
  case callbackLost(worker: UInt64, kind: UInt16, stream: UInt32, requestID: String, milliseconds: UInt32)
  /// A worker that was retired has no stream any more, and has dealt with all that it was sent.
  case workerIdle(worker: UInt64)
  /// Every event loop gives new streams the chain of that generation.
  case chainActivated(generation: UInt32)
  /// The chain cannot be prepared or activated; `detail` is for people.
  case chainRefused(generation: UInt32, detail: String)
  /// The plugin is in no chain that has streams, and its workers owe nothing: they may go.
  case pluginDrained(plugin: UInt32)
  /// A callback of the worker runs past its deadline: it is to be interrupted. `run` stands for what it ran then
  /// (`WorkerStatus.runNumber`); the rest is as in `callbackLost`. Where that does not end it, a `workerFault` follows.
  case callbackOverdue(
    worker: UInt64, run: UInt32, kind: UInt16, stream: UInt32, requestID: String, milliseconds: UInt32)
  /// The worker has answered its first callback of a stream; said once.
  case workerServed(worker: UInt64)
  /// What plugins have done since the last such event of that event loop.
  case workDone([WorkDone])
  /// A callback of the plugin runs long, and others wait behind it: somebody should take over.
  case spareWanted(plugin: UInt32)
  /// The plugin died of a stream that looks like that. `what` is it for people, `requestID` its request's, both "" where the
  /// stream is over already; `reason` is nil where the worker's process died and only the supervisor can know why.
  case suspected(plugin: UInt32, fingerprint: Fingerprint, reason: ExitReason?, requestID: String, what: String)
  /// A suspect wants a lane, and there is none; said again while one is wanted.
  case laneWanted(plugin: UInt32)
  /// Streams that were taken for suspects since the last such event of that event loop.
  case suspectsMatched(plugin: UInt32, [SuspectMatches])
  /// The answer to `leaveState`: what went wrong, for people; empty where nothing did.
  case stateLeft(detail: String)
  /// The answer to `takeState`: the same.
  case stateTaken(detail: String)

  /// The most of `metrics`' text in one message, in bytes.
  public static let maximumMetricsText = 48 << 10
  /// The most of a request's id, in bytes.
  public static let maximumRequestID = 128
  /// The most of what a suspect looks like, in bytes.
  public static let maximumLook = 512

  private enum Kind: UInt8 {
    case serving = 1
    case workerFault, workerGone, workerAttached, drained, metrics, workerIdle
    case pong = 50
    case chainActivated = 32
    case chainRefused, pluginDrained
    case statistics = 48
    case callbackLost
    case callbackOverdue = 60
    case workerServed = 65
    case workDone, spareWanted, suspected, laneWanted, suspectsMatched
    case stateLeft = 80
    case stateTaken
  }

  /// The bytes of the datagram, which `init` reads. Text that is too long is cut.
  public func encoded() -> [UInt8] {
    var writer = WireWriter(capacity: 64)
    switch self {
    case .serving:
      writer.u8(Kind.serving.rawValue)
    case .workerFault(let worker, let reason, let detail):
      writer.u8(Kind.workerFault.rawValue)
      writer.u64(worker)
      writer.u8(reason.code)
      writer.cut(detail, to: 1_024)
    case .workerGone(let worker):
      writer.u8(Kind.workerGone.rawValue)
      writer.u64(worker)
    case .workerAttached(let worker):
      writer.u8(Kind.workerAttached.rawValue)
      writer.u64(worker)
    case .drained:
      writer.u8(Kind.drained.rawValue)
    case .stateLeft(let detail):
      writer.u8(Kind.stateLeft.rawValue)
      writer.cut(detail, to: 1_024)
    case .stateTaken(let detail):
      writer.u8(Kind.stateTaken.rawValue)
      writer.cut(detail, to: 1_024)
    case .metrics(let number, let isLast, let text):
      writer.u8(Kind.metrics.rawValue)
      writer.u32(number)
      writer.bool(isLast)
      writer.cut(text, to: Self.maximumMetricsText)
    case .pong(let number):
      writer.u8(Kind.pong.rawValue)
      writer.u32(number)
    case .statistics(let number, let isLast, let plugins):
      writer.u8(Kind.statistics.rawValue)
      writer.u32(number)
      writer.bool(isLast)
      writer.array(Array(plugins.prefix(PluginStatistics.perMessage))) { $1.encode(into: &$0) }
    case .callbackLost(let worker, let kind, let stream, let requestID, let milliseconds):
      writer.u8(Kind.callbackLost.rawValue)
      writer.u64(worker)
      writer.u16(kind)
      writer.u32(stream)
      writer.cut(requestID, to: Self.maximumRequestID)
      writer.u32(milliseconds)
    case .workerIdle(let worker):
      writer.u8(Kind.workerIdle.rawValue)
      writer.u64(worker)
    case .chainActivated(let generation):
      writer.u8(Kind.chainActivated.rawValue)
      writer.u32(generation)
    case .chainRefused(let generation, let detail):
      writer.u8(Kind.chainRefused.rawValue)
      writer.u32(generation)
      writer.cut(detail, to: 1_024)
    case .pluginDrained(let plugin):
      writer.u8(Kind.pluginDrained.rawValue)
      writer.u32(plugin)
    case .callbackOverdue(let worker, let run, let kind, let stream, let requestID, let milliseconds):
      writer.u8(Kind.callbackOverdue.rawValue)
      writer.u64(worker)
      writer.u32(run)
      writer.u16(kind)
      writer.u32(stream)
      writer.cut(requestID, to: Self.maximumRequestID)
      writer.u32(milliseconds)
    case .workerServed(let worker):
      writer.u8(Kind.workerServed.rawValue)
      writer.u64(worker)
    case .workDone(let work):
      writer.u8(Kind.workDone.rawValue)
      writer.array(Array(work.prefix(WorkDone.perMessage))) { writer, work in
        writer.u32(work.plugin)
        writer.u64(work.requests)
        writer.u64(work.suspects)
      }
    case .spareWanted(let plugin):
      writer.u8(Kind.spareWanted.rawValue)
      writer.u32(plugin)
    case .suspected(let plugin, let fingerprint, let reason, let requestID, let what):
      writer.u8(Kind.suspected.rawValue)
      writer.u32(plugin)
      for kind in Fingerprint.Kind.allCases { writer.u64(fingerprint[kind]) }
      writer.bool(reason != nil)
      if let reason { writer.u8(reason.code) }
      writer.cut(requestID, to: Self.maximumRequestID)
      writer.cut(what, to: Self.maximumLook)
    case .laneWanted(let plugin):
      writer.u8(Kind.laneWanted.rawValue)
      writer.u32(plugin)
    case .suspectsMatched(let plugin, let matches):
      writer.u8(Kind.suspectsMatched.rawValue)
      writer.u32(plugin)
      writer.array(Array(matches.prefix(SuspectMatches.perMessage))) { writer, match in
        writer.u8(match.kind.rawValue)
        writer.u64(match.number)
        writer.u64(match.count)
      }
    }
    return writer.array
  }

  /// Reads a datagram of the front.
  ///
  /// - Throws: `WireError` where the bytes are not exactly one event that this version knows, or something in it is
  ///   over its bound.
  public init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = unsafe WireReader(bytes)
    guard let kind = Kind(rawValue: try reader.u8("event.kind")) else { throw WireError(.unknownValue, "event.kind") }
    switch kind {
    case .serving: self = .serving
    case .workerFault:
      let worker = try reader.u64("workerFault.worker")
      guard let reason = ExitReason(code: try reader.u8("workerFault.reason")) else {
        throw WireError(.unknownValue, "workerFault.reason")
      }
      self = .workerFault(worker: worker, reason: reason, detail: try reader.string("workerFault.detail"))
    case .workerGone: self = .workerGone(worker: try reader.u64("workerGone.worker"))
    case .workerAttached: self = .workerAttached(worker: try reader.u64("workerAttached.worker"))
    case .drained: self = .drained
    case .stateLeft: self = .stateLeft(detail: try reader.string("stateLeft.detail"))
    case .stateTaken: self = .stateTaken(detail: try reader.string("stateTaken.detail"))
    case .metrics:
      self = .metrics(
        number: try reader.u32("metrics.number"), isLast: try reader.bool("metrics.isLast"),
        text: try reader.string("metrics.text"))
    case .pong: self = .pong(number: try reader.u32("pong.number"))
    case .statistics:
      self = .statistics(
        number: try reader.u32("statistics.number"), isLast: try reader.bool("statistics.isLast"),
        plugins: try reader.array("statistics.plugins", atMost: PluginStatistics.perMessage) {
          (reader) throws(WireError) in try PluginStatistics(&reader)
        })
    case .callbackLost:
      self = .callbackLost(
        worker: try reader.u64("callbackLost.worker"), kind: try reader.u16("callbackLost.kind"),
        stream: try reader.u32("callbackLost.stream"),
        requestID: try reader.string("callbackLost.requestID", atMost: Self.maximumRequestID),
        milliseconds: try reader.u32("callbackLost.milliseconds"))
    case .workerIdle: self = .workerIdle(worker: try reader.u64("workerIdle.worker"))
    case .chainActivated: self = .chainActivated(generation: try reader.u32("chainActivated.generation"))
    case .chainRefused:
      self = .chainRefused(
        generation: try reader.u32("chainRefused.generation"), detail: try reader.string("chainRefused.detail"))
    case .pluginDrained: self = .pluginDrained(plugin: try reader.u32("pluginDrained.plugin"))
    case .callbackOverdue:
      self = .callbackOverdue(
        worker: try reader.u64("callbackOverdue.worker"), run: try reader.u32("callbackOverdue.run"),
        kind: try reader.u16("callbackOverdue.kind"), stream: try reader.u32("callbackOverdue.stream"),
        requestID: try reader.string("callbackOverdue.requestID", atMost: Self.maximumRequestID),
        milliseconds: try reader.u32("callbackOverdue.milliseconds"))
    case .workerServed: self = .workerServed(worker: try reader.u64("workerServed.worker"))
    case .workDone:
      self = .workDone(
        try reader.array("workDone.plugins", atMost: WorkDone.perMessage) { (reader) throws(WireError) in
          WorkDone(
            plugin: try reader.u32("workDone.plugin"), requests: try reader.u64("workDone.requests"),
            suspects: try reader.u64("workDone.suspects"))
        })
    case .spareWanted: self = .spareWanted(plugin: try reader.u32("spareWanted.plugin"))
    case .suspected:
      let plugin = try reader.u32("suspected.plugin")
      let fingerprint = Fingerprint(
        request: try reader.u64("suspected.request"), shape: try reader.u64("suspected.shape"),
        client: try reader.u64("suspected.client"))
      var reason: ExitReason?
      if try reader.bool("suspected.hasReason") {
        reason = ExitReason(code: try reader.u8("suspected.reason"))
        guard reason != nil else { throw WireError(.unknownValue, "suspected.reason") }
      }
      self = .suspected(
        plugin: plugin, fingerprint: fingerprint, reason: reason,
        requestID: try reader.string("suspected.requestID", atMost: Self.maximumRequestID),
        what: try reader.string("suspected.what", atMost: Self.maximumLook))
    case .laneWanted: self = .laneWanted(plugin: try reader.u32("laneWanted.plugin"))
    case .suspectsMatched:
      self = .suspectsMatched(
        plugin: try reader.u32("suspectsMatched.plugin"),
        try reader.array("suspectsMatched.matches", atMost: SuspectMatches.perMessage) { (reader) throws(WireError) in
          guard let kind = Fingerprint.Kind(rawValue: try reader.u8("suspectsMatched.kind")) else {
            throw WireError(.unknownValue, "suspectsMatched.kind")
          }
          return SuspectMatches(
            kind: kind, number: try reader.u64("suspectsMatched.number"),
            count: try reader.u64("suspectsMatched.count"))
        })
    }
    try reader.end("event")
  }
}

/// How many streams one event loop has taken for suspects for one fingerprint.
public struct SuspectMatches: Equatable, Sendable {
  /// What streams have in common with the one that killed the plugin.
  public var kind: Fingerprint.Kind
  /// The hash.
  public var number: UInt64
  /// Streams.
  public var count: UInt64

  /// `number` is the hash, never 0.
  public init(kind: Fingerprint.Kind, number: UInt64, count: UInt64) {
    self.kind = kind
    self.number = number
    self.count = count
  }

  /// As many fit into one message.
  public static let perMessage = 2_048
}

/// What one event loop has had done by one plugin.
public struct WorkDone: Equatable, Sendable {
  /// The plugin's number.
  public var plugin: UInt32
  /// Streams whose first callback it has answered, without those of its lane for suspects, and these.
  public var requests: UInt64
  /// The same for streams of the lane for suspects.
  public var suspects: UInt64

  /// Counts since the event loop told of them last.
  public init(plugin: UInt32, requests: UInt64, suspects: UInt64 = 0) {
    self.plugin = plugin
    self.requests = requests
    self.suspects = suspects
  }

  /// As many fit into one message.
  public static let perMessage = 3_072
}
