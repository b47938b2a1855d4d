import BulkheadChain
import BulkheadCore
import BulkheadSystem
import BulkheadWire
import NIOCore

/// The calls out of all plugins on one event loop: who called, whom, and the connections for it. Its event loop alone
/// touches it.
///
/// A call belongs to a worker and, where it was made for a stream, to that stream: it ends with either, and then nobody
/// hears of it again. What one worker may have in flight is counted over all loops (`WorkerMapping`).
final class CallsOut {
  let loop: FrontLoop
  private var calls: [OutgoingCall.Key: OutgoingCall] = [:]
  private var callsOfStream: [UInt32: [OutgoingCall.Key]] = [:]
  /// By the upstream's name.
  private var targets: [String: Target] = [:]
  /// Calls whose plugin must catch up first.
  private var heldBack: [OutgoingCall.Key: GRPCCall] = [:]
  private var resumeIsScheduled = false
  private var limiter = LineLimiter()
  private var isWatchingIdle = false

  private struct Target {
    var settings: Upstream
    var connector: Connector
    var http1: CallPool?
    var http2: CallPool?
  }

  /// What the calls of one worker may keep in the front, in bytes, on this loop: requests that are not sent yet, answers
  /// that are not whole, and what waits for room on its ring.
  let maximumBytes: Int

  init(loop: FrontLoop) {
    self.loop = loop
    maximumBytes = ChainLimits.heldBytes / max(Int(loop.settings.bootstrap.eventLoops), 1)
    for (upstream, pool) in zip(loop.settings.bootstrap.upstreams, loop.pools) {
      targets[upstream.name] = Target(settings: upstream, connector: pool.connector)
    }
  }

  /// Calls that are not over.
  var liveCalls: Int { calls.count }

  /// Calls that wait until their plugin has caught up.
  var heldBackCalls: Int { heldBack.count }

  /// Connections that are open, or on the way.
  var openConnections: Int {
    targets.values.reduce(0) { $0 + ($1.http1?.connections.count ?? 0) + ($1.http2?.connections.count ?? 0) }
  }

  // MARK: What plugins ask for

  /// Does the calls among what a reply asks for.
  func perform(_ outcome: PluginOutcome, from link: WorkerLink) {
    outcome.forEachOperation { operation in
      guard !link.isLost else { return }
      switch operation.code {
      case .httpCall:
        if let request = try? HTTPCallRequest(operation) { start(request, from: link) }
      case .grpcStart:
        if let request = try? GRPCCallRequest(operation) { start(request, from: link) }
      case .grpcSend:
        // The call may have ended meanwhile.
        if let (call, step) = grpc(operation, link) { call.send(step.message, isLast: step.isLast) }
      case .grpcClose: grpc(operation, link)?.call.closeHere()
      case .grpcCancel: grpc(operation, link)?.call.cancel()
      default: break
      }
    }
  }

  private func grpc(_ operation: ReplyOperation, _ link: WorkerLink) -> (call: GRPCCall, step: GRPCStep)? {
    guard let step = try? GRPCStep(operation),
      let call = calls[OutgoingCall.Key(worker: link.worker, token: step.token)] as? GRPCCall
    else { return nil }
    return (call, step)
  }

  private func start(_ request: HTTPCallRequest, from link: WorkerLink) {
    let name = String(decoding: request.upstream, as: UTF8.self)
    guard admits(request.token, owner: request.owner, link, name) else { return }
    link.plugin.counters.calls &+= 1
    let refuse = { [self] (why: String) in
      refused(link, name, why) { HTTPCall.deliverFailure(request.token, to: link) }
    }
    guard let target = targets[name] else { return refuse("is not made: there is no upstream of that name") }
    guard link.mapping.callBegins(atMost: bound(link)) else { return refuse(overBound(link)) }
    let call: HTTPCall
    do throws(CallRefusal) {
      call = try HTTPCall(callsOut: self, link: link, request: request)
      if target.settings.isHTTP2 { try call.checkHTTP2() }
    } catch {
      link.mapping.callEnded()
      return refuse("is not made: \(error.reason)")
    }
    call.isCounted = true
    guard call.hold(call.requestBytes) else {
      call.uncount()
      return refuse("is not made: \(call.overBound)")
    }
    add(call)
    call.start(timeoutMilliseconds: request.timeoutMilliseconds > 0 ? request.timeoutMilliseconds : .max)
    if target.settings.isEcho {
      // Not in the middle of what the plugin is asking for.
      later { if !call.isOver { call.ready(EchoUpstream(for: call, listener: nil)) } }
    } else {
      pool(name, isHTTP2: target.settings.isHTTP2)?.acquire(call)
    }
  }

  private func start(_ request: GRPCCallRequest, from link: WorkerLink) {
    let name = String(decoding: request.upstream, as: UTF8.self)
    guard admits(request.token, owner: request.owner, link, name) else { return }
    link.plugin.counters.calls &+= 1
    let refuse = { [self] (status: UInt32, why: String) in
      refused(link, name, why) { GRPCCall.deliverEnd(request.token, status, "the call \(why)", to: link) }
    }
    guard let target = targets[name] else {
      return refuse(GRPCStatus.unavailable, "is not made: there is no upstream of that name")
    }
    guard !target.settings.isEcho else {
      return refuse(GRPCStatus.unimplemented, "is not made: the embedded echo upstream speaks no gRPC")
    }
    guard link.mapping.callBegins(atMost: bound(link)) else {
      return refuse(GRPCStatus.resourceExhausted, overBound(link))
    }
    let call: GRPCCall
    do throws(CallRefusal) {
      call = try GRPCCall(callsOut: self, link: link, request: request)
    } catch {
      link.mapping.callEnded()
      return refuse(GRPCStatus.internal, "is not made: \(error.reason)")
    }
    call.isCounted = true
    guard call.hold(call.requestBytes) else {
      call.uncount()
      return refuse(GRPCStatus.resourceExhausted, "is not made: \(call.overBound)")
    }
    add(call)
    call.start(timeoutMilliseconds: request.timeoutMilliseconds)
    if request.isUnary { call.send(request.message, isLast: true) }
    if !call.isOver { pool(name, isHTTP2: true)?.acquire(call) }
  }

  /// Whether a call may begin at all: it does not where the plugin may not reach the upstream, its number is taken, or the
  /// stream that it belongs to is over.
  private func admits(_ token: UInt32, owner: UInt32, _ link: WorkerLink, _ upstream: String) -> Bool {
    // An honest worker has refused its plugin such a call.
    guard link.plugin.settings.mayReach(upstream) else {
      link.breach("it called upstream \(upstream), which its plugin's policy does not list (upstreams)")
      return false
    }
    guard calls[OutgoingCall.Key(worker: link.worker, token: token)] == nil else {
      link.breach("it started a call to upstream \(upstream) with the number of one that goes on (\(token))")
      return false
    }
    guard owner != CallbackRecord.noStream else { return true }
    return loop.engine.stream(owner)?.place(of: link) != nil
  }

  private func bound(_ link: WorkerLink) -> Int { link.plugin.settings.callsInFlight }

  private func overBound(_ link: WorkerLink) -> String {
    "is not made: its worker has \(bound(link)) calls in flight, which is the bound (callsInFlight)"
  }

  /// Answers a call that is not made, once the reply that asked for it is dealt with.
  private func refused(_ link: WorkerLink, _ upstream: String, _ why: String, _ deliver: @escaping () -> Void) {
    log("plugin \(link.plugin.settings.name): its call to upstream \(upstream) \(why)")
    link.plugin.counters.failedCalls &+= 1
    // Each is answered; a worker that asks on without taking the answers is no honest one.
    guard link.owed.rootBytes &+ link.root.refusalBytes <= maximumBytes else {
      return link.breach("it asked for calls beyond its bound without taking the answers")
    }
    let bytes = OutgoingCall.overhead &+ why.utf8.count
    link.root.refusalBytes &+= bytes
    later {
      link.root.refusalBytes &-= bytes
      deliver()
    }
  }

  // MARK: Life of calls

  private func add(_ call: OutgoingCall) {
    calls[call.key] = call
    guard call.owner != CallbackRecord.noStream else { return }
    callsOfStream[call.owner, default: []].append(call.key)
    loop.engine.callsOfStreams += 1
  }

  func remove(_ call: OutgoingCall) {
    if !heldBack.isEmpty { heldBack[call.key] = nil }
    guard calls.removeValue(forKey: call.key) != nil, call.owner != CallbackRecord.noStream else { return }
    loop.engine.callsOfStreams -= 1
    guard var keys = callsOfStream[call.owner] else { return }
    keys.removeAll { $0 == call.key }
    callsOfStream[call.owner] = keys.isEmpty ? nil : keys
  }

  func retry(_ call: OutgoingCall) {
    pool(call.upstream, isHTTP2: call is GRPCCall || targets[call.upstream]?.settings.isHTTP2 ?? false)?.acquire(call)
  }

  private func pool(_ name: String, isHTTP2: Bool) -> CallPool? {
    guard let target = targets[name] else { return nil }
    if let pool = isHTTP2 ? target.http2 : target.http1 { return pool }
    let pool = CallPool(callsOut: self, connector: target.connector, kind: isHTTP2 ? .http2 : .http1)
    if isHTTP2 { targets[name]?.http2 = pool } else { targets[name]?.http1 = pool }
    return pool
  }

  /// The stream is over: its calls end unheard. Only where `FrontLoop.callsOfStreams` says that there are any.
  func streamEnded(_ stream: UInt32) {
    guard let keys = callsOfStream.removeValue(forKey: stream) else { return }
    for key in keys { calls[key]?.cancel() }
  }

  /// The worker is lost: so are its calls.
  func workerLost(_ link: WorkerLink) {
    guard !calls.isEmpty else { return }
    for call in calls.values.filter({ $0.link === link }) { call.cancel() }
  }

  /// One of the worker's VMs has ended: so have its calls.
  func vmLost(_ link: WorkerLink, calls tokens: [UInt32]) {
    guard !calls.isEmpty else { return }
    for token in tokens { calls[OutgoingCall.Key(worker: link.worker, token: token)]?.cancel() }
  }

  // MARK: Backpressure

  /// The plugin must catch up before it is told more of this call.
  func holdBack(_ call: GRPCCall) {
    heldBack[call.key] = call
    call.link.root.hasHeldCalls = true
  }

  /// A worker has caught up.
  func resumeHeldBack() {
    guard !resumeIsScheduled, !heldBack.isEmpty else { return }
    resumeIsScheduled = true
    later { [self] in
      resumeIsScheduled = false
      let waiting = heldBack
      heldBack = [:]
      for call in waiting.values where !call.isOver {
        if call.link.owed.rootBytes > GRPCCall.lowWater { holdBack(call) } else { call.resume() }
      }
    }
  }

  /// Runs it once the loop has done what it is doing.
  func later(_ work: @escaping () -> Void) {
    loop.eventLoop.assumeIsolated().execute(work)
  }

  // MARK: Connections

  var isDraining: Bool { loop.isDraining }

  /// Makes sure that connections that nobody uses are closed in time.
  func watchIdle() {
    guard !isWatchingIdle else { return }
    isWatchingIdle = true
    let limit = loop.settings.idle
    let period = TimeAmount.nanoseconds(Int64(clamping: min(max(limit / 4, 50_000_000), 5_000_000_000)))
    loop.eventLoop.assumeIsolated().scheduleTask(in: period) { [weak self] in
      guard let self else { return }
      isWatchingIdle = false
      closeIdle(limit)
      if openConnections > 0 { watchIdle() }
    }
  }

  private func closeIdle(_ limit: UInt64) {
    let now = Clock.monotonicNanoseconds
    for target in targets.values {
      target.http1?.closeIdle(now: now, limit: limit)
      target.http2?.closeIdle(now: now, limit: limit)
    }
  }

  /// Connections that nobody uses are of no use any more.
  func drain() { closeIdle(0) }

  /// Ends everything, unheard.
  func closeAll() {
    for call in Array(calls.values) { call.cancel() }
    for target in targets.values {
      target.http1?.closeAll()
      target.http2?.closeAll()
    }
  }

  /// The event loop has ended, and with it every connection: what refers to each other is let go.
  func dismantle() {
    calls = [:]
    callsOfStream = [:]
    targets = [:]
    heldBack = [:]
  }

  // MARK: Log

  /// A line for people, a few times a second at most.
  func log(_ line: @autoclosure () -> String) {
    guard let suppressed = limiter.admit(now: Clock.monotonicNanoseconds) else { return }
    let line = line()
    loop.log.write(.warn, suppressed > 0 ? "\(line) (and \(suppressed) lines about calls before it)" : line)
  }
}
