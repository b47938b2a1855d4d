import BulkheadWire

extension FrontCounters {
  /// What is told of each plugin, in the order of the chain.
  var statistics: [PluginStatistics] {
    latencies.indices.map { place in
      PluginStatistics(
        plugin: UInt32(truncatingIfNeeded: place), callbacks: place < callbacks.count ? callbacks[place] : 0,
        failedStreams: place < failures.count ? failures[place] : 0,
        waitingStreams: place < waiting.count ? waiting[place] : 0, latencies: latencies[place].all,
        channels: place < channels.count ? channels[place].values.sorted { $0.worker < $1.worker } : [])
    }
  }

  /// Adds what another loop knows of the same plugins.
  mutating func addStatistics(_ other: FrontCounters) {
    for place in latencies.indices where place < other.latencies.count { latencies[place].add(other.latencies[place]) }
    for place in waiting.indices where place < other.waiting.count { waiting[place] &+= other.waiting[place] }
    for place in channels.indices where place < other.channels.count {
      for (worker, channel) in other.channels[place] {
        channels[place][worker, default: PluginStatistics.Channel(worker: worker)].add(channel)
      }
    }
  }
}
