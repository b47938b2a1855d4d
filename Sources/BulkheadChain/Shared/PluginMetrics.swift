import BulkheadCore
import BulkheadSystem

/// The metrics that one plugin has defined, by name and by number; they outlive its workers. Any thread.
///
/// A number is `place << 2 | kind`, the places from 1 on, as in Envoy: it is never 0, tells its kind, and the next worker
/// that defines the same gets the same. It means something to this plugin alone, so no plugin reaches another's.
public final class PluginMetrics: Sendable {
  /// The plugin's.
  public let name: String
  private let maximum: UInt32
  private let state = Locked(State())

  /// Of the names of all metrics of one plugin, in bytes.
  static let maximumNameBytes = 1 << 20

  private struct State {
    var metrics: [Metric] = []
    var places: [[UInt8]: Int] = [:]
    var nameBytes = 0
  }

  /// - Parameter maximum: metrics that it may define.
  init(name: String, maximum: UInt32) {
    self.name = name
    // Places have 30 bits.
    self.maximum = min(maximum, (1 << 30) - 1)
  }

  /// Makes the metric, or finds the one of that name.
  ///
  /// - Throws: BAD_ARGUMENT where the kind is none, the name is empty or the metric is of another kind, or the bound that
  ///   it would break.
  func define(_ name: [UInt8], kind raw: UInt64) throws(SharedStore.Refusal) -> UInt32 {
    guard let kind = UInt32(exactly: raw).flatMap(MetricKind.init(rawValue:)), !name.isEmpty else {
      throw .status(.badArgument)
    }
    guard name.count <= Limits.maximumSharedKey else { throw .bound(.keyBytes(Limits.maximumSharedKey)) }
    let maximum = self.maximum
    let place = state.with { state -> Result<Int, SharedStore.Refusal> in
      if let place = state.places[name] {
        return state.metrics[place].kind == kind ? .success(place) : .failure(.status(.badArgument))
      }
      guard state.metrics.count < Int(maximum) else { return .failure(.bound(.metrics(maximum))) }
      guard state.nameBytes + name.count <= Self.maximumNameBytes else {
        return .failure(.bound(.metricNameBytes(Self.maximumNameBytes)))
      }
      state.nameBytes += name.count
      state.places[name] = state.metrics.count
      state.metrics.append(Metric(kind: kind, name: name))
      return .success(state.metrics.count - 1)
    }
    return UInt32(truncatingIfNeeded: try place.get() + 1) << 2 | kind.rawValue
  }

  /// The value of a counter or gauge.
  ///
  /// - Throws: BAD_ARGUMENT for a histogram, NOT_FOUND where there is no such metric.
  func value(of number: UInt64) throws(SharedStore.Refusal) -> UInt64 {
    guard let number = UInt32(exactly: number) else { throw .status(.notFound) }
    guard number & 3 <= MetricKind.gauge.rawValue else { throw .status(.badArgument) }
    let metrics = all
    guard let place = Self.place(of: number), metrics.indices.contains(place),
      metrics[place].kind.rawValue == number & 3
    else { throw .status(.notFound) }
    return metrics[place].current
  }

  /// In the order in which they were defined.
  public var all: [Metric] { state.with { $0.metrics } }

  /// All of them, for the front that takes this one's place.
  var carried: [CarriedState.MetricValue] {
    all.map { .init(plugin: name, name: $0.name, kind: $0.kind, value: $0.current, buckets: $0.counts) }
  }

  /// Takes over what the front before has counted; a metric of that name and another kind is left alone.
  ///
  /// - Returns: whether it was.
  func takeOver(_ metric: CarriedState.MetricValue, isRest: Bool) -> Bool {
    do throws(SharedStore.Refusal) {
      let number = try define(metric.name, kind: UInt64(metric.kind.rawValue))
      guard let place = Self.place(of: number) else { return false }
      let metrics = all
      guard metrics.indices.contains(place) else { return false }
      metrics[place].takeOver(metric.value, counts: metric.buckets, isRest: isRest)
      return true
    } catch {
      return false
    }
  }

  static func place(of number: UInt32) -> Int? { number >> 2 > 0 ? Int(number >> 2) - 1 : nil }
}

/// What one event loop knows of a plugin's metrics, so that counting takes no lock. It asks again for numbers that it has
/// not seen.
struct MetricCache {
  private var metrics: [Metric] = []

  /// - Returns: nil where the plugin has defined no such metric.
  @inline(__always)
  mutating func metric(_ number: UInt32, of source: PluginMetrics) -> Metric? {
    guard let place = PluginMetrics.place(of: number) else { return nil }
    if place >= metrics.count {
      metrics = source.all
      guard place < metrics.count else { return nil }
    }
    let metric = metrics[place]
    return metric.kind.rawValue == number & 3 ? metric : nil
  }
}
