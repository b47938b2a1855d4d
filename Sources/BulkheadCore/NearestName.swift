/// Finds what somebody who mistyped a name most likely meant.
public enum NearestName {
  /// The candidate that takes the fewest edits (insert, delete, replace, swap neighbours), where those are few for its
  /// length; differences in case count as none.
  public static func of(_ name: String, among candidates: some Sequence<String>) -> String? {
    let typed = Array(name.lowercased().unicodeScalars.prefix(65))
    guard !typed.isEmpty, typed.count <= 64 else { return nil }
    var best: (distance: Int, candidate: String)?
    for candidate in candidates {
      let known = Array(candidate.lowercased().unicodeScalars)
      let allowed = max(1, min(3, (max(known.count, typed.count) + 1) / 3))
      let distance = distance(typed, known)
      if distance <= allowed, distance < best?.distance ?? .max { best = (distance, candidate) }
    }
    return best?.candidate
  }

  /// The same as a question behind a text that names what was typed; empty where nothing is near.
  public static func question(_ name: String, among candidates: some Sequence<String>) -> String {
    of(name, among: candidates).map { "; did you mean '\($0)'?" } ?? ""
  }

  private static func distance(_ left: [Unicode.Scalar], _ right: [Unicode.Scalar]) -> Int {
    var twoBack: [Int] = []
    var previous = Array(0...right.count)
    for (row, a) in left.enumerated() {
      var current = [row + 1]
      for (column, b) in right.enumerated() {
        var cost = min(previous[column + 1] + 1, current[column] + 1, previous[column] + (a == b ? 0 : 1))
        if row > 0, column > 0, a == right[column - 1], left[row - 1] == b {
          cost = min(cost, twoBack[column - 1] + 1)
        }
        current.append(cost)
      }
      twoBack = previous
      previous = current
    }
    return previous[right.count]
  }
}
