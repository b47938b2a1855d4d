import BulkheadChain
import BulkheadCore
import BulkheadSystem
import BulkheadWire
import NIOConcurrencyHelpers
import NIOCore

/// What this front has left to the one that takes its place, and where it is to write what it counts until its end.
/// Any thread.
final class CarryOver: Sendable {
  private struct State {
    var earlier: CarriedState?
    var rest: Int32?
  }

  private let state = NIOLockedValueBox(State())

  /// Its numbers were carried over.
  ///
  /// - Parameter rest: a descriptor for what is counted from then on; taken over.
  func left(_ numbers: CarriedState, rest: Int32?) {
    let before = state.withLockedValue { state in
      defer { state = State(earlier: numbers, rest: rest) }
      return state.rest
    }
    if let before { RawDescriptor.close(before) }
  }

  /// What is to be written at the end, and against what; once.
  func takeRest() -> (earlier: CarriedState, rest: Int32)? {
    state.withLockedValue { state in
      guard let earlier = state.earlier, let rest = state.rest else { return nil }
      state = State()
      return (earlier, rest)
    }
  }
}

extension FrontGroup {
  /// Writes shared data, queues and numbers to a file, for the front that takes this one's place; says so by an event.
  ///
  /// - Parameters:
  ///   - file: an empty file; closed here.
  ///   - rest: where what is counted from then on is to be written at this front's end; closed then.
  func leaveState(to file: Int32, rest: Int32?) {
    let events = self.events
    gather { [self] numbers in
      var state = shared.carried()
      state.rows = numbers
      var counted = state
      counted.stores = []
      carry.left(counted, rest: rest)
      events.send(.stateLeft(detail: Self.write(state, to: file)))
    } otherwise: {
      RawDescriptor.close(file)
      if let rest { RawDescriptor.close(rest) }
      events.send(.stateLeft(detail: "too much waits for the thread that would write it"))
    }
  }

  /// Writes what was counted since `leaveState`, where somebody asked for it, then calls `done`.
  func leaveRest(done: @escaping @Sendable () -> Void) {
    guard let (earlier, rest) = carry.takeRest() else { return done() }
    gather { [self] numbers in
      var state = shared.carried()
      state.stores = []
      state.rows = numbers
      _ = Self.write(state.since(earlier), to: rest)
      done()
    } otherwise: {
      RawDescriptor.close(rest)
      done()
    }
  }

  /// Takes over what the front before has written; says so by an event.
  ///
  /// - Parameter file: closed here.
  func takeState(from file: Int32) {
    let events = self.events
    let isTaken = helper.run { [self] in
      let state: CarriedState
      do {
        let bytes = try RawDescriptor.readFile(file, atMost: CarriedState.maximumBytes)
        RawDescriptor.close(file)
        state = try bytes.withUnsafeBytes { try CarriedState($0) }
      } catch {
        events.send(.stateTaken(detail: "it cannot be read: \(error)"))
        return
      }
      let lost = shared.takeOver(state)
      // Which loop has counted what nobody asks.
      if let first = loops.first { first.eventLoop.execute { first.takeOver(state.rows) } }
      if !state.isRest { onEachLoop { loop in for plugin in loop.engine.chain.plugins { plugin.notifyOfQueues() } } }
      events.send(.stateTaken(detail: lost.isEmpty ? "" : "there is no room, or no plugin, for \(lost)"))
    }
    guard !isTaken else { return }
    RawDescriptor.close(file)
    events.send(.stateTaken(detail: "too much waits for the thread that would read it"))
  }

  /// Asks each loop for its numbers in turn, then goes on where work may take its time; `otherwise` is called where that is
  /// not to be had.
  private func gather(
    then: @escaping @Sendable ([CarriedState.Row]) -> Void, otherwise: @escaping @Sendable () -> Void
  ) {
    let chain = withChains { $0.current }
    guard let first = loops.first else { return otherwise() }
    let sum = FrontCounters(
      listeners: first.settings.bootstrap.listeners.count, plugins: chain.plugins.count,
      upstreams: first.settings.bootstrap.upstreams.count)
    MetricsCollection.ask(loops[...], sum: sum, chain) { [helper] sum in
      let rows = sum.carried(first.settings.bootstrap, plugins: chain.plugins.map(\.name))
      if !helper.run({ then(rows) }) { otherwise() }
    }
  }

  /// - Returns: what went wrong, for people; empty where nothing did.
  private static func write(_ state: CarriedState, to file: Int32) -> String {
    defer { RawDescriptor.close(file) }
    let (bytes, leftOut) = state.encoded()
    guard bytes.count <= CarriedState.maximumBytes else {
      return "it is larger than \(CarriedState.maximumBytes) bytes"
    }
    do {
      try bytes.withUnsafeBytes { try RawDescriptor.writeAll(file, $0) }
    } catch {
      return "it cannot be written: \(error)"
    }
    return leftOut == 0 ? "" : "\(leftOut) vm_ids have more than is carried over"
  }
}

extension FrontCounters {
  /// All that only grows, by names.
  func carried(_ bootstrap: FrontBootstrap, plugins names: [String]) -> [CarriedState.Row] {
    var rows: [CarriedState.Row] = []
    for (place, listener) in bootstrap.listeners.enumerated() {
      rows.append(.init(topic: .listener, name: listener.name, numbers: carried(listener: place)))
      for code in Self.classes.indices {
        guard let times = durations.carried(place * Self.classes.count + code) else { continue }
        rows.append(.init(topic: .listenerDuration, name: listener.name, kind: UInt16(code), numbers: times))
      }
    }
    for (place, (upstream, failures)) in zip(bootstrap.upstreams, upstreamFailures).enumerated() {
      rows.append(.init(topic: .upstream, name: upstream.name, numbers: [failures]))
      guard let times = upstreamDurations.carried(place) else { continue }
      rows.append(.init(topic: .upstreamDuration, name: upstream.name, numbers: times))
    }
    for (name, plugin) in zip(names, plugins) {
      rows.append(.init(topic: .plugin, name: name, numbers: plugin.carried))
      for latency in plugin.latencies.all {
        let numbers = [latency.histogram.sumNanoseconds] + latency.histogram.buckets
        rows.append(.init(topic: .latency, name: name, kind: latency.kind, numbers: numbers))
      }
    }
    return rows
  }
}

extension FrontLoop {
  /// Adds what the front before has counted of what is there under the same name.
  func takeOver(_ rows: [CarriedState.Row]) {
    let (listeners, upstreams) = (settings.bootstrap.listeners, settings.bootstrap.upstreams)
    for row in rows {
      switch row.topic {
      case .listener:
        if let place = listeners.firstIndex(where: { $0.name == row.name }) {
          counters.takeOver(listener: place, row.numbers)
        }
      case .upstream:
        if let place = upstreams.firstIndex(where: { $0.name == row.name }) {
          counters.takeOver(upstream: place, row.numbers)
        }
      case .listenerDuration:
        if let place = listeners.firstIndex(where: { $0.name == row.name }) {
          counters.takeOver(durationsOfListener: place, code: Int(row.kind), row.numbers)
        }
      case .upstreamDuration:
        if let place = upstreams.firstIndex(where: { $0.name == row.name }) {
          counters.takeOver(durationsOfUpstream: place, row.numbers)
        }
      case .plugin, .latency:
        // As of a revision that is gone.
        guard engine.chain.plugins.contains(where: { $0.settings.name == row.name }) else { continue }
        if row.topic == .plugin {
          engine.countersOfGone[row.name, default: PluginCounters()].takeOver(row.numbers)
        } else {
          engine.countersOfGone[row.name, default: PluginCounters()].latencies.add(row.kind, row.numbers)
        }
      }
    }
  }
}
