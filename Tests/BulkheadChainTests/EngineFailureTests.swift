import BulkheadCore
import BulkheadWire
import Testing

@testable import BulkheadChain

/// The failure table: whatever befalls a plugin, in whichever phase of a stream, the stream sees what the policy says, once, and
/// nothing of it is held afterwards.
@Suite struct EngineFailureTests {
  /// What befalls the plugin at a callback of the stream.
  enum Blow: CaseIterable {
    /// What nobody had begun goes to another worker.
    case diesUnbegun
    case stuckElsewhere
    case discards
    /// It is at fault.
    case diesWorking
    case breaksProtocol
    case runsLate
    case neverBegins
    case runsLateAndIsInterrupted
    case vmEnds
    case noWorkerInTime
    case quarantined
    /// There is no room.
    case ringStaysFull
    case keepsTooMuch

    static let movesOn: [Blow] = [.diesUnbegun, .stuckElsewhere, .discards]

    var fault: PluginFault { self == .ringStaysFull || self == .keepsTooMuch ? .overload : .failure }
    var renews: Bool { self == .runsLateAndIsInterrupted || self == .vmEnds || self == .discards }
    /// There has to be something wrong before the stream comes.
    var isBefore: Bool {
      switch self {
      case .noWorkerInTime, .quarantined, .ringStaysFull, .keepsTooMuch: true
      default: false
      }
    }
  }

  struct Row {
    var blow: Blow
    var phase: EnginePhase
    var strategy: FailStrategy
    var overload: OverloadStrategy
    /// The plugin has met the stream before, and has state of it.
    var isMet: Bool
    /// A plugin before it and one behind it have all callbacks.
    var hasNeighbours: Bool

    var goesOn: Bool { blow.fault == .failure ? strategy == .failOpen : overload == .open }
    var place: Int { hasNeighbours ? 1 : 0 }
    var text: Comment {
      "\(blow), \(phase), \(strategy), overload \(overload), \(isMet ? "met" : "new")\(hasNeighbours ? ", 3 plugins" : "")"
    }

    var plugins: [FrontBootstrap.Plugin] {
      let callbacks = isMet ? phase.callback.union(phase.meeting ?? []) : phase.callback
      let plugin = FrontBootstrap.Plugin.engine(
        callbacks, strategy, overload: overload, number: UInt32(place), admission: 50, renews: blow.renews)
      guard hasNeighbours else { return [plugin] }
      let all: CallbackSet = [.http, .network]
      return [.engine(all, number: 0), plugin, .engine(all, number: 2)]
    }
  }

  private static func rows(_ blow: Blow, _ phase: EnginePhase, isMet: Bool) -> [Row] {
    var rows: [Row] = []
    for strategy in FailStrategy.allCases {
      for overload in OverloadStrategy.allCases {
        for hasNeighbours in [false, true] {
          rows.append(
            Row(
              blow: blow, phase: phase, strategy: strategy, overload: overload, isMet: isMet,
              hasNeighbours: hasNeighbours))
        }
      }
    }
    return rows
  }

  /// A plugin that the stream meets by the callback that fails.
  @Test(arguments: Blow.allCases, EnginePhase.allCases) func newToThePlugin(blow: Blow, phase: EnginePhase) throws {
    for row in Self.rows(blow, phase, isMet: false) { try play(row) }
  }

  /// One that has state of the stream: what was not begun fails too.
  @Test(arguments: Blow.allCases, EnginePhase.allCases.filter { $0.meeting != nil })
  func withState(blow: Blow, phase: EnginePhase) throws {
    // Where it has a worker already it needs no other one.
    guard blow != .noWorkerInTime, blow != .quarantined else { return }
    // A worker that keeps too much takes no more bytes; it still takes the rest.
    guard blow != .keepsTooMuch || phase.isBytes else { return }
    for row in Self.rows(blow, phase, isMet: true) { try play(row) }
  }

  private func play(_ row: Row) throws {
    let harness = try EngineHarness(row.plugins, callbackBytes: 4 << 10)
    let plugin = harness.plugin(row.place)
    if row.hasNeighbours {
      try harness.addWorker(0)
      try harness.addWorker(2)
    }
    let worker =
      row.blow == .noWorkerInTime || row.blow == .quarantined ? nil : try harness.addWorker(UInt32(row.place))
    let sink = harness.sink(row.phase.proto)
    if !row.isMet, row.blow.isBefore { prepare(row, plugin, worker) }

    sink.come(to: row.phase)
    harness.serve(but: row.place)
    if row.isMet {
      let kind = row.phase.proto == .http ? CallbackKind.requestHeaders : .newConnection
      #expect(worker?.take()?.kind == kind, row.text)
      // What it has answered is off the ring, and not yet heard.
      worker?.answer()
      if row.blow.isBefore, row.phase.direction == .request { prepare(row, plugin, worker) }
      harness.serve(but: row.place)
    }
    if row.phase.direction == .response {
      if row.isMet, row.blow.isBefore { prepare(row, plugin, worker) }
      sink.answer(for: row.phase)
      harness.serve(but: row.place)
    }

    // What has to move on does so to the second worker, unless its state is gone with the first.
    let movesOn = Blow.movesOn.contains(row.blow) && !row.isMet
    strike(row, harness, worker)
    if movesOn {
      #expect(sink.stops.isEmpty, row.text)
      let other = try harness.addWorker(UInt32(row.place))
      harness.serve(but: row.place)
      let from = row.blow == .discards ? worker : other
      #expect(from?.take()?.kind == row.phase.kind, row.text)
      #expect(from?.take()?.isFirst == true, row.text)
      #expect(plugin.counters.redispatched == 1, row.text)
      from?.answer()
      harness.serve()
    } else {
      harness.serve(but: row.place)
    }

    if movesOn || row.goesOn {
      #expect(sink.stops.isEmpty, row.text)
      sink.sendRest()
      harness.serve(but: row.place)
      sink.sendRest()
      harness.serve(but: row.place)
      #expect(sink.isComplete, row.text)
    } else {
      #expect(sink.stops == ["\(row.blow.fault == .failure ? "failed" : "overload") \(row.place)"], row.text)
      #expect(sink.isReset == row.phase.isBehindResponse, row.text)
      if !row.phase.isBehindResponse {
        #expect(sink.client.head?.first == ":status=503", row.text)
        #expect(sink.client.text == "failed", row.text)
      }
      #expect(sink.ends == 1, row.text)
    }
    #expect(plugin.counters.failures == (movesOn || row.blow.fault == .overload ? 0 : 1), row.text)
    #expect(plugin.counters.overloads == (row.blow.fault == .overload ? 1 : 0), row.text)
    clear(row, worker)
    #expect(!sink.isOpen, row.text)
    harness.expectNothingHeld(row.text)
  }

  /// What is wrong before the stream comes.
  private func prepare(_ row: Row, _ plugin: PluginWorkers, _ worker: EngineWorker?) {
    switch row.blow {
    case .quarantined: plugin.setState(.quarantined)
    case .ringStaysFull:
      // Records that its worker does not come to.
      for size in [1_000, 100, 8, 0] {
        let record = [UInt8](repeating: 0, count: size)
        while (record.withUnsafeBytes { try? worker?.link.channel.publish($0) }) == true {}
      }
    case .keepsTooMuch: worker?.link.hold(ChainLimits.heldBytes + 1)
    default: break
    }
  }

  /// What befalls the plugin now.
  private func strike(_ row: Row, _ harness: EngineHarness, _ worker: EngineWorker?) {
    switch row.blow {
    case .diesUnbegun:
      worker?.die()
    case .stuckElsewhere:
      worker?.claim(.tick, since: harness.loop.now)
      harness.pass(milliseconds: 1_260)
      worker?.die()
    case .discards:
      #expect(worker?.take()?.kind == row.phase.kind, row.text)
      worker?.begin()
      worker?.discard()
    case .diesWorking:
      #expect(worker?.take()?.kind == row.phase.kind, row.text)
      worker?.begin()
      worker?.die()
    case .breaksProtocol:
      #expect(worker?.take()?.kind == row.phase.kind, row.text)
      worker?.reply([1, 2, 3])
      harness.run()
      #expect(worker?.link.state == .lost, row.text)
      worker?.die()
    case .runsLate:
      #expect(worker?.take()?.kind == row.phase.kind, row.text)
      worker?.begin()
      harness.pass(milliseconds: 1_100)
      #expect(worker?.link.state == .lost, row.text)
      worker?.die()
    case .neverBegins:
      harness.pass(milliseconds: 1_100)
      #expect(worker?.link.state == .lost, row.text)
      worker?.die()
    case .runsLateAndIsInterrupted:
      #expect(worker?.take()?.kind == row.phase.kind, row.text)
      worker?.begin()
      harness.pass(milliseconds: 1_100)
      #expect(worker?.link.state == .ready, row.text)
      worker?.endVM(.deadline)
    case .vmEnds:
      #expect(worker?.take()?.kind == row.phase.kind, row.text)
      worker?.endVM()
    case .noWorkerInTime, .ringStaysFull, .keepsTooMuch:
      harness.pass(milliseconds: 100)
    case .quarantined: break
    }
    harness.run()
  }

  /// What was wrong on purpose is no more.
  private func clear(_ row: Row, _ worker: EngineWorker?) {
    switch row.blow {
    case .ringStaysFull: worker?.die()
    case .keepsTooMuch: worker?.link.letGo(ChainLimits.heldBytes + 1)
    default: break
    }
  }
}
