/// The bits of Envoy's `response.flags` that have a meaning here, with the short names that Envoy's access logs have for them.
enum ResponseFlags {
  static let upstreamTimeout: UInt64 = 1 << 2
  static let localReset: UInt64 = 1 << 3
  static let upstreamConnect: UInt64 = 1 << 5
  static let upstreamReset: UInt64 = 1 << 6
  static let upstreamOverflow: UInt64 = 1 << 7
  static let downstreamReset: UInt64 = 1 << 14
  static let streamIdleTimeout: UInt64 = 1 << 16
  static let badRequest: UInt64 = 1 << 18

  /// In the order of their bits.
  static let names: [(flag: UInt64, name: StaticString)] = [
    (upstreamTimeout, "UT"), (localReset, "LR"), (upstreamConnect, "UF"), (upstreamReset, "UC"),
    (upstreamOverflow, "UO"), (downstreamReset, "DC"), (streamIdleTimeout, "SI"), (badRequest, "DPE"),
  ]
}

extension JSONText {
  /// The flags by their names, with commas between them; `-` for none.
  mutating func flagNames(_ flags: UInt64) {
    raw("\"")
    var isFirst = true
    for (flag, name) in ResponseFlags.names where flags & flag != 0 {
      if !isFirst { raw(",") }
      isFirst = false
      name.withUTF8Buffer { raw(UnsafeRawBufferPointer($0)) }
    }
    raw(isFirst ? "-\"" : "\"")
  }
}
