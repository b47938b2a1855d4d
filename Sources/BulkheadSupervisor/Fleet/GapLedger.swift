/// Which gaps in their sandboxes the workers of each plugin have, so that a gap that all have is said once.
struct GapLedger {
  /// By plugin: what its newest worker misses, in words.
  private var gaps: [String: String] = [:]

  /// A worker of the plugin is ready.
  ///
  /// - Parameter gap: what it misses; nil for nothing.
  /// - Returns: whether that is news: no plugin had it by now.
  mutating func note(_ gap: String?, of plugin: String) -> Bool {
    let isNews = gap.map { gap in !gaps.values.contains(gap) } ?? false
    gaps[plugin] = gap
    return isNews
  }

  /// Forgets plugins that are not there any more.
  mutating func keep(_ plugins: some Sequence<String>) {
    let names = Set(plugins)
    gaps = gaps.filter { names.contains($0.key) }
  }
}
