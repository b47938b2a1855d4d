import NIOCore

/// Who of several plugins gets the next of a limited number of places.
///
/// Half of the places are kept, in equal parts, one for each plugin that may ever want some: whoever holds all that it can
/// get leaves every other plugin its part, in whatever order they come. The other half is for whoever comes first. Who
/// finds no place waits in a lane of its plugin, and the lanes take turns.
///
/// A value without clocks and I/O. Plugins are numbers.
struct CallShares<Waiter> {
  /// All places.
  var capacity: Int
  /// The plugins that may want one; those that hold some count even where this is less.
  var members: Int

  private var held: [Int: Int] = [:]
  /// Places that are taken.
  private(set) var taken = 0
  private var lanes: [Int: CircularBuffer<Waiter>] = [:]
  /// The lanes in which somebody waits: the first one whose plugin may have a place is next.
  private var turns: [Int] = []
  /// How many wait.
  private(set) var waiting = 0

  init(capacity: Int, members: Int) {
    self.capacity = capacity
    self.members = members
  }

  /// The places that are kept for each plugin: one at least, as far as there are any.
  var kept: Int { max(capacity / 2 / max(members, held.count, 1), 1) }

  /// How many places the plugin has.
  func held(by plugin: Int) -> Int { held[plugin] ?? 0 }

  /// Whether the plugin may have one more place.
  func mayTake(_ plugin: Int) -> Bool {
    guard taken < capacity else { return false }
    let kept = self.kept
    if held(by: plugin) < kept { return true }
    let beyond = held.values.reduce(0) { $0 + max($1 - kept, 0) }
    return beyond < capacity - kept * max(members, held.count, 1)
  }

  /// Takes a place for the plugin.
  ///
  /// - Returns: false where it may not have one now.
  mutating func take(_ plugin: Int) -> Bool {
    guard mayTake(plugin) else { return false }
    held[plugin, default: 0] += 1
    taken += 1
    return true
  }

  /// Gives a place of the plugin back.
  mutating func release(_ plugin: Int) {
    guard let count = held[plugin] else { return }
    held[plugin] = count > 1 ? count - 1 : nil
    taken -= 1
  }

  /// Has somebody of the plugin wait, behind those of it that wait already, or before them.
  mutating func wait(_ waiter: Waiter, of plugin: Int, isNext: Bool = false) {
    if lanes[plugin] == nil {
      lanes[plugin] = CircularBuffer()
      if isNext { turns.insert(plugin, at: 0) } else { turns.append(plugin) }
    }
    if isNext { lanes[plugin]?.prepend(waiter) } else { lanes[plugin]?.append(waiter) }
    waiting += 1
  }

  /// Who is next, with a place taken for it; nil where nobody who waits may have one.
  mutating func next() -> Waiter? {
    guard waiting > 0, let turn = turns.firstIndex(where: { mayTake($0) }) else { return nil }
    let plugin = turns.remove(at: turn)
    guard let waiter = lanes[plugin]?.popFirst() else { return nil }
    waiting -= 1
    if lanes[plugin]?.isEmpty ?? true { lanes[plugin] = nil } else { turns.append(plugin) }
    _ = take(plugin)
    return waiter
  }

  /// Those of the plugin of whom `isGone` is true wait no longer.
  mutating func forget(of plugin: Int, where isGone: (Waiter) -> Bool) {
    guard let before = lanes[plugin]?.count else { return }
    lanes[plugin]?.removeAll(where: isGone)
    waiting -= before - (lanes[plugin]?.count ?? 0)
    guard lanes[plugin]?.isEmpty ?? true else { return }
    lanes[plugin] = nil
    turns.removeAll { $0 == plugin }
  }
}
