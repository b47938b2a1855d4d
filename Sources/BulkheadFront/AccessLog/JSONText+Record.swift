import BulkheadChain

// What each line of the access log has, of a request as of a connection.
extension JSONText {
  /// Its first members.
  mutating func begin(_ record: StreamRecord, listener: String) {
    member("start_time")
    string(LogTime.text(nanoseconds: record.startedAt))
    member("listener")
    string(listener)
  }

  /// Those before the fields that the configuration adds: sizes, time, where it went, how it ended and why, and the plugin
  /// that this is about.
  ///
  /// - Parameter peer: nil where it went nowhere.
  mutating func end(_ record: StreamRecord, upstream: [UInt8], _ peer: UpstreamPeer?, _ chain: Chain) {
    member("bytes_in", record.bytesIn)
    member("bytes_out", record.bytesOut)
    member("duration_us", record.duration / 1_000)
    member("upstream", text: upstream)
    if let peer { member("endpoint", text: peer.address) }
    member("flags", record.flags)
    member("response_flags")
    flagNames(record.flags)
    member("details", text: record.details.bytes)
    if record.concerned >= 0, record.concerned < chain.plugins.count {
      member("plugin")
      string(chain.plugins[record.concerned].settings.name)
    }
    if !record.failure.isEmpty {
      member("failure")
      string(record.failure)
    }
  }
}
