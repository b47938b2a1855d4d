import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// The hostcalls of section "Metrics". Defining one and reading it back asks the front; changes go along with replies.
extension PluginHost {
  func defineMetric(
    _ memory: GuestMemory, _ type: UInt32, _ nameAt: UInt32, _ nameSize: UInt32, _ idAt: UInt32
  ) -> Status {
    guard let name = memory.bytes(nameAt, nameSize), memory.contains(idAt, 4) else { return .invalidMemoryAccess }
    guard let kind = MetricLedger.Kind(rawValue: type) else { return .badArgument }
    guard !isTooLongName(name, "a metric's name") else { return .internalFailure }
    let answered = ask(.defineMetric, number: UInt64(type), key: name)
    if case .ok(let answer) = answered { metrics.define(UInt32(truncatingIfNeeded: answer.number), kind) }
    return storeNumber(answered, at: idAt, memory)
  }

  /// A counter goes up alone; a histogram takes records, no increments.
  func incrementMetric(_ metric: UInt32, by amount: Int64) -> Status {
    switch metrics.kind(metric) {
    case nil: return .notFound
    case .histogram: return .badArgument
    case .counter where amount <= 0: return .badArgument
    case .counter, .gauge: metrics.increment(metric, by: UInt64(bitPattern: amount))
    }
    if metrics.isFull { sendMetrics() }
    return .ok
  }

  /// Sets a gauge, adds a sample to a histogram; a counter is added to, as Envoy does it.
  func recordMetric(_ metric: UInt32, _ value: UInt64) -> Status {
    switch metrics.kind(metric) {
    case nil: return .notFound
    // An increment is signed: what is over would count down.
    case .counter where value > UInt64(Int64.max): metrics.sample(metric, value)
    case .counter: metrics.increment(metric, by: value)
    case .gauge: metrics.set(metric, to: value)
    case .histogram: metrics.sample(metric, value)
    }
    if metrics.isFull { sendMetrics() }
    return .ok
  }

  func getMetric(_ memory: GuestMemory, _ metric: UInt32, _ valueAt: UInt32) -> Status {
    guard memory.contains(valueAt, 8) else { return .invalidMemoryAccess }
    switch metrics.kind(metric) {
    case nil: return .notFound
    case .histogram: return .badArgument
    case .counter, .gauge: break
    }
    // What the plugin did before it asked counts.
    if !metrics.isEmpty { sendMetrics() }
    switch ask(.getMetric, number: UInt64(metric)) {
    case .ok(let answer): return memory.store64(answer.number, at: valueAt) ? .ok : .invalidMemoryAccess
    case .refused(let status): return status
    }
  }
}
