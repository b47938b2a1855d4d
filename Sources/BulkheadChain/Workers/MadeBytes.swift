/// What plugins made themselves of one message, local answers and what they added to bodies, and what waits for who is to
/// take it: counted against a bound of each plugin. One event engine.
public struct MadeBytes {
  /// Nothing is counted.
  public init() {}

  private var charges: [(plugin: PluginWorkers, bytes: Int)] = []

  @inline(__always)
  var isEmpty: Bool { charges.isEmpty }

  /// Counts bytes of the plugin.
  ///
  /// - Returns: false where the plugin has as much under way as it may, and nothing is counted.
  public mutating func charge(_ plugin: PluginWorkers, _ bytes: Int) -> Bool {
    // Few are within what any connection may have waiting.
    guard bytes > ChainLimits.uncounted else { return true }
    guard plugin.made.takes(bytes) else { return false }
    if let last = charges.indices.last, charges[last].plugin === plugin {
      charges[last].bytes &+= bytes
    } else {
      charges.append((plugin, bytes))
    }
    return true
  }

  /// They have been taken, or are of no use any more.
  @inline(__always)
  public mutating func settle() {
    if !isEmpty { settleAll() }
  }

  @inline(never)
  private mutating func settleAll() {
    for charge in charges { charge.plugin.made.bytes &-= charge.bytes }
    charges = []
  }
}

/// What one plugin made itself on one event loop and nobody has taken yet, and the most of it.
struct MadeBound {
  var bytes = 0
  let maximum: Int

  /// - Parameter loops: how many share what a plugin may have made.
  init(loops: Int) { maximum = max(ChainLimits.madeBytes / loops, ChainLimits.madeBytesOfLoop) }

  /// Counts more of it.
  ///
  /// - Returns: false where that is too much, and nothing is counted.
  mutating func takes(_ more: Int) -> Bool {
    guard bytes &+ more <= maximum else { return false }
    bytes &+= more
    return true
  }
}

extension PluginWorkers {
  /// What is said where it has made as much as it may.
  public var madeTooMuch: String {
    "plugin \(settings.name) has made more of answers and bytes than its bound of \(made.maximum) bytes that nobody "
      + "has taken yet"
  }
}
