import BulkheadCore

/// What the worker of one plugin is counted to keep of a stream without the bytes of its bodies, by `KeptBytes`.
///
/// It only grows, until the worker lets go of all: what a worker's memory has grown by it keeps.
struct KeptHeaders {
  // There is one for each plugin of each connection.
  private var total: UInt32 = 0
  private var came: UInt32 = 0
  private var entries: UInt32 = 0
  private var edits: UInt32 = 0

  var bytes: Int { Int(total) }

  /// A record brings more.
  ///
  /// - Parameters:
  ///   - maps: the sum of `KeptBytes.map` of the header maps or trailers in it.
  ///   - properties: `KeptBytes.properties` of what plugins have set by now.
  /// - Returns: how much more it is than before.
  mutating func sent(maps: Int, properties: Int) -> Int {
    came = UInt32(clamping: Int(came) &+ maps)
    return grow(to: edits == 0 ? KeptBytes.context &+ Int(came) &+ properties : bytes &+ maps)
  }

  /// The plugin has edited.
  ///
  /// - Parameters:
  ///   - bytes: of all names and values.
  ///   - maps: the sum of `KeptBytes.map` of all header maps and trailers by now.
  ///   - entries: of those.
  /// - Returns: how much more it is than before.
  mutating func edited(_ bytes: Int, maps: Int, entries: Int, properties: Int) -> Int {
    edits = UInt32(clamping: Int(edits) &+ bytes)
    self.entries = max(self.entries, UInt32(clamping: entries))
    let all = KeptBytes.edited(came: Int(came), maps: maps, entries: Int(self.entries), edits: Int(edits))
    return grow(to: KeptBytes.context &+ all &+ properties)
  }

  private mutating func grow(to bytes: Int) -> Int {
    let before = self.bytes
    total = max(total, UInt32(clamping: bytes))
    return self.bytes &- before
  }

  /// The worker has let go of all but the stream's context and what the plugin has set itself.
  ///
  /// - Returns: how much less it is than before.
  mutating func shrink(properties: Int) -> Int {
    let before = bytes
    self = KeptHeaders()
    total = UInt32(clamping: min(before, KeptBytes.context &+ properties))
    return before &- bytes
  }
}
