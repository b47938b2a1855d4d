import BulkheadCore
import BulkheadRing
import BulkheadSystem
import BulkheadTestSupport
import BulkheadWire
import Testing

@testable import BulkheadChain

/// An engine with its loop, its workers and its streams, all in the test's own hand: no socket, no process, no thread, no
/// time that passes by itself.
final class EngineHarness {
  let loop = EngineLoop()
  let engine: ChainEngine
  private let layout: ChannelLayout
  private let shared: SharedState
  private var bootstrap: FrontBootstrap
  private var generation: UInt32 = 0
  /// All that there were.
  private(set) var workers: [EngineWorker] = []
  private var nextWorker: UInt64 = 0

  /// - Parameter callbackBytes: of the ring that records go to: half of it is the largest.
  init(_ plugins: [FrontBootstrap.Plugin], callbackBytes: UInt32 = 16 << 10, eventLoops: UInt32 = 1) throws {
    var bootstrap = FrontBootstrap(
      eventLoops: eventLoops, maximumSpinMicroseconds: 0, logLevel: .warn, listeners: [], upstreams: [],
      plugins: plugins)
    bootstrap.ring.callbacks = callbackBytes
    bootstrap.ring.replies = 16 << 10
    bootstrap.ring.answers = 4 << 10
    self.bootstrap = bootstrap
    shared = SharedState(bootstrap)
    let settings = try ChainSettings(bootstrap, generation: 0, shared: shared)
    guard
      let layout = ChannelLayout(
        eventLoops: Int(eventLoops), callbackBytes: Int(callbackBytes), replyBytes: Int(bootstrap.ring.replies),
        answerBytes: Int(bootstrap.ring.answers))
    else { throw TestError(description: "no layout") }
    self.layout = layout
    engine = ChainEngine(
      index: 0, loops: Int(eventLoops), driver: loop, shared: shared, fingerprintKey: .random(), chain: settings,
      maximumSpin: 0, maximumMapBytes: Limits.mapBytes(headerBytes: bootstrap.bounds.headerBytes))
  }

  /// Plugins refer to their engine, and it to them.
  deinit { engine.dismantle() }

  func plugin(_ place: Int = 0) -> PluginWorkers { engine.chain.plugins[place] }

  /// A worker of the plugin, ready or about to be.
  @discardableResult
  func addWorker(_ plugin: UInt32 = 0, ready: Bool = true, isLane: Bool = false) throws -> EngineWorker {
    nextWorker += 1
    let memory = try Memfd.shared(name: "test", size: layout.totalBytes).takeDescriptor()
    let mapping = try WorkerMapping(
      worker: nextWorker, plugin: plugin, isLane: isLane, layout: layout, memory: memory)
    guard let link = WorkerLink(engine: engine, mapping: mapping) else { throw TestError(description: "no link") }
    engine.attach(link)
    let worker = try EngineWorker(link, loop)
    workers.append(worker)
    if ready { link.becomeReady() }
    return worker
  }

  /// New streams take a chain of those plugins; those of the same number are the same ones.
  func reload(_ plugins: [FrontBootstrap.Plugin]) throws {
    generation += 1
    bootstrap.plugins = plugins
    let settings = try ChainSettings(
      bootstrap, generation: generation, shared: shared, earlier: [engine.chain.settings])
    engine.prepare(settings)
    guard engine.activate(generation: generation) else { throw TestError(description: "the chain is not activated") }
  }

  func sink(_ proto: StreamProtocol) -> EngineSink { EngineSink(engine, proto) }

  /// Workers that nobody needs to look at any more.
  func forgetDeadWorkers() { workers.removeAll { $0.isDead } }

  /// The loop does what there is to do, and hears the doorbells, until all is quiet.
  func run() {
    for _ in 0..<100_000 {
      var hasWorked = loop.turn()
      for worker in workers where !worker.isDead && !worker.link.isLost && worker.link.channel.hasReply {
        hasWorked = true
        if worker.link.isAsleep { worker.link.rung() } else { _ = worker.link.poll() }
      }
      if !hasWorked { return }
    }
    Issue.record("the engine never comes to rest")
  }

  /// Time passes.
  func pass(milliseconds: UInt64) {
    let end = loop.now + milliseconds * 1_000_000
    run()
    while loop.fire(until: end) { run() }
    run()
  }

  /// Workers go on with whatever they are sent until nothing comes.
  ///
  /// - Parameter idle: those of the plugin at that place do nothing.
  func serve(
    but idle: Int? = nil, _ serve: (EngineWorker, SeenCallback) -> Void = { worker, _ in worker.answer() }
  ) {
    for _ in 0..<10_000 {
      run()
      var hasWorked = false
      for worker in workers where !worker.isDead && !worker.link.isLost && worker.link.plugin.place != idle {
        guard let record = worker.take() else { continue }
        hasWorked = true
        serve(worker, record)
      }
      if !hasWorked { return run() }
    }
    Issue.record("the workers are never done")
  }

  /// Nothing of any stream is held: to be asked once all streams are over.
  func expectNothingHeld(_ comment: Comment? = nil, sourceLocation: SourceLocation = #_sourceLocation) {
    serve()
    for wrong in heldThings() { Issue.record("\(wrong)", sourceLocation: sourceLocation) }
  }

  /// What is held though no stream is open, for people.
  func heldThings() -> [String] {
    var wrongs: [String] = []
    if !engine.retiredChains.isEmpty { wrongs.append("\(engine.retiredChains.count) chains of before") }
    if engine.chain.streams != 0 { wrongs.append("\(engine.chain.streams) streams of the chain") }
    for plugin in engine.plugins.values {
      if plugin.made.bytes != 0 { wrongs.append("\(plugin.made.bytes) made bytes of plugin \(plugin.number)") }
      // Those of streams that are over are thrown out when their turn comes.
      plugin.admitWaiters()
      if plugin.workers.first != nil, plugin.admission.hasWaiters {
        wrongs.append("streams wait for plugin \(plugin.number)")
      }
    }
    for worker in workers {
      wrongs += worker.wrongs
      guard !worker.isDead, worker.link.isAlive else { continue }
      let load = worker.link.load
      if load.streams != 0 { wrongs.append("\(load.streams) streams in worker \(worker.number)") }
      if worker.link.held.bytes != 0 { wrongs.append("\(worker.link.held.bytes) bytes in worker \(worker.number)") }
      if load.callbacks != 0 { wrongs.append("\(load.callbacks) callbacks of worker \(worker.number)") }
      if !worker.link.owesNothing() { wrongs.append("worker \(worker.number) owes something") }
      if !worker.open.isEmpty { wrongs.append("worker \(worker.number) has contexts of \(worker.open)") }
    }
    return wrongs
  }
}

extension FrontBootstrap.Plugin {
  /// A plugin of an engine's test: long deadlines, so that only what a test is about comes to pass.
  static func engine(
    _ callbacks: CallbackSet, _ strategy: FailStrategy = .failClose, overload: OverloadStrategy = .close,
    number: UInt32? = nil, admission: UInt32 = 2_000, renews: Bool = false, bufferBytes: UInt32 = 1 << 20
  ) -> FrontBootstrap.Plugin {
    var plugin = FrontBootstrap.Plugin(
      name: "plugin\(number ?? 0)", failStrategy: strategy, callbacks: callbacks, callbackDeadline: 1_000,
      admissionWait: admission)
    plugin.number = number
    plugin.overload = overload
    plugin.renews = renews
    plugin.bufferBytes = bufferBytes
    return plugin
  }
}
