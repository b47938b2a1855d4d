import BulkheadControl

/// What a reload changes, by the names of plugins.
struct ReloadDifference: Equatable {
  private(set) var added: [String] = []
  /// Another revision takes their place.
  private(set) var changed: [String] = []
  private(set) var removed: [String] = []
  private(set) var unchanged: [String] = []
  /// Those that stay stand in another order.
  private(set) var isReordered = false

  /// Whether new streams are to take another chain.
  var isAnother: Bool { !added.isEmpty || !changed.isEmpty || !removed.isEmpty || isReordered }

  /// - Parameters:
  ///   - before: the plugins of the chain, in its order.
  ///   - after: those of the new one, and whether each may stay as it is.
  init(from before: [String], to after: [(name: String, isSame: Bool)]) {
    let known = Set(before)
    for (name, isSame) in after {
      switch (known.contains(name), isSame) {
      case (false, _): added.append(name)
      case (true, false): changed.append(name)
      case (true, true): unchanged.append(name)
      }
    }
    let names = Set(after.map(\.name))
    removed = before.filter { !names.contains($0) }
    let staying = Set(unchanged)
    isReordered = before.filter(staying.contains) != unchanged
  }
}

extension ReloadResponse {
  /// Takes what is told of it.
  mutating func tell(_ difference: ReloadDifference) {
    added = difference.added
    changed = difference.changed
    removed = difference.removed
    unchanged = difference.unchanged
    isReordered = difference.isReordered
  }
}
