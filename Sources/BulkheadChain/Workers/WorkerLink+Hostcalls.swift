import BulkheadCore
import BulkheadRing
import BulkheadWire

// The questions of a worker about what is shared: each is answered at once.
extension WorkerLink {
  /// A hostcall that the worker waits for.
  func serve(_ reply: inout ReplyRecord, bytes: Int, now: UInt64) throws(WireError) {
    let request = try HostcallRequest(&reply.rest)
    guard flood.takesTurn(answersAreTaken: hasTakenAnswers) else {
      lose(.protocolViolation, "it asked on before the answer to its question was taken", failHead: true)
      return
    }
    guard flood.takesQuestion(bytes: bytes, now: now) else {
      lose(
        .protocolViolation,
        "it floods its ring with hostcalls: more than \(FloodGuard.questionUnits) of them, or of KiB, in a second")
      return
    }
    plugin.counters.hostcalls &+= 1
    let sequence = reply.sequence
    let shared = engine.shared
    let owner = plugin.shared
    switch request.call {
    case .setSharedData:
      settle(
        sequence,
        shared.set([UInt8](request.key), [UInt8](request.value), cas: request.number, plugin: owner).map { 0 })
    case .getSharedData:
      guard let entry = shared.get([UInt8](request.key), plugin: owner) else {
        return answer(sequence, .notFound)
      }
      entry.value.withUnsafeBytes { answer(sequence, .ok, number: UInt64(entry.cas), payload: $0) }
    case .registerQueue:
      let queue = shared.register([UInt8](request.key), plugin: owner)
      settle(sequence, queue.map { UInt64($0) })
      // Messages that came before anybody was there to be told.
      if case .success(let token) = queue { plugin.notify(ofQueue: token) }
    case .resolveQueue:
      guard let token = shared.resolve(vm: [UInt8](request.key), [UInt8](request.value), plugin: owner) else {
        return answer(sequence, .notFound)
      }
      answer(sequence, .ok, number: UInt64(token))
    case .enqueue: enqueue(sequence, token: request.number, [UInt8](request.value))
    case .dequeue:
      switch shared.dequeue(request.number, plugin: owner) {
      case .success(let message): message.withUnsafeBytes { answer(sequence, .ok, payload: $0) }
      case .failure(let refusal): refuse(sequence, refusal)
      }
    case .defineMetric:
      settle(
        sequence,
        run { () throws(SharedStore.Refusal) in
          UInt64(try owner.metrics.define([UInt8](request.key), kind: request.number))
        })
    case .getMetric:
      settle(sequence, run { () throws(SharedStore.Refusal) in try owner.metrics.value(of: request.number) })
    case .upstreamHosts:
      // An honest worker has refused its plugin such a question.
      guard plugin.settings.mayReach(String(decoding: request.key, as: UTF8.self)) else {
        return breach(
          "it asked for the endpoints of an upstream that its plugin's policy does not list (upstreams)")
      }
      guard let endpoints = engine.driver.endpoints(ofUpstream: request.key) else {
        return answer(sequence, .notFound)
      }
      endpoints.withUnsafeBytes { answer(sequence, .ok, payload: $0) }
    }
  }

  private var hasTakenAnswers: Bool { (try? channel.answersAreTaken()) ?? false }

  private func run<Value>(_ body: () throws(SharedStore.Refusal) -> Value) -> SharedState.Outcome<Value> {
    do throws(SharedStore.Refusal) { return .success(try body()) } catch { return .failure(error) }
  }

  /// Answers a hostcall.
  ///
  /// - Parameters:
  ///   - sequence: the question's number.
  ///   - status: `proxy_status_t`.
  func answer(
    _ sequence: UInt64, status: UInt32, number: UInt64 = 0,
    payload: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)
  ) {
    guard !isLost else { return }
    engine.answerWriter.reset()
    engine.answerWriter.hostcallAnswer(sequence: sequence, status: status, number: number, payload: payload)
    if engine.answerWriter.count > channel.maximumAnswer {
      sayRefused(.answerBytes(channel.maximumAnswer))
      engine.answerWriter.reset()
      engine.answerWriter.hostcallAnswer(sequence: sequence, status: HostcallStatus.internalFailure.rawValue)
    }
    do throws(RingError) {
      // A worker waits for one answer at a time: where there is no room, it asks without reading.
      if try !channel.answer(engine.answerWriter.bytes) {
        lose(.protocolViolation, "it asked on without taking the answers", failHead: false)
      }
    } catch {
      lose(.protocolViolation, "\(error)", failHead: true)
    }
  }

  private func answer(
    _ sequence: UInt64, _ status: HostcallStatus, number: UInt64 = 0,
    payload: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)
  ) { answer(sequence, status: status.rawValue, number: number, payload: payload) }

  /// Answers with a number, or why there is none.
  private func settle(_ sequence: UInt64, _ outcome: SharedState.Outcome<UInt64>) {
    switch outcome {
    case .success(let number): answer(sequence, .ok, number: number)
    case .failure(let refusal): refuse(sequence, refusal)
    }
  }

  private func refuse(_ sequence: UInt64, _ refusal: SharedStore.Refusal) {
    switch refusal {
    case .status(let status): answer(sequence, status)
    case .bound(let bound):
      sayRefused(bound)
      answer(sequence, .internalFailure)
    }
  }

  /// Says which bound the plugin has run into, a few times a second at most.
  func sayRefused(_ bound: SharedBound) { warn("a hostcall is refused: \(bound)") }

  private func warn(_ text: @autoclosure () -> String) {
    guard let suppressed = engine.sharedLines.admit(now: engine.now) else { return }
    engine.driver.log(
      .warn, request: "",
      "plugin \(plugin.settings.name): \(text())" + LineLimiter.note(suppressed: suppressed))
  }

  private func enqueue(_ sequence: UInt64, token: UInt64, _ message: [UInt8]) {
    switch engine.shared.enqueue(token, message, plugin: plugin.shared) {
    case .success(let registrant):
      answer(sequence, .ok)
      engine.chain.plugin(shared: registrant)?.notify(ofQueue: UInt32(truncatingIfNeeded: token))
    case .failure(let refusal): refuse(sequence, refusal)
    }
  }

  // MARK: Metrics

  /// Counts what a reply says is to be counted.
  func applyMetrics(_ outcome: PluginOutcome) {
    let source = plugin.shared.metrics
    var ignored = 0
    outcome.forEachOperation { operation in
      guard operation.code == .incrementMetric || operation.code == .recordMetric,
        let (number, amount) = try? operation.metric()
      else { return }
      guard let metric = plugin.metricCache.metric(number, of: source) else {
        ignored += 1
        return
      }
      if operation.code == .recordMetric {
        metric.record(amount)
      } else if !metric.increment(by: amount) {
        ignored += 1
      }
    }
    if ignored > 0 { warn("\(ignored) changes of metrics that it has not defined, or not so, are left out") }
  }
}
