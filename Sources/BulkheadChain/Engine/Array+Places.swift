extension Array {
  /// Takes an element out of a list whose elements know their places: the last one moves to its place.
  ///
  /// - Parameters:
  ///   - place: nothing is done where there is no such one.
  ///   - moved: tells the element that moved where it is now.
  /// - Returns: whether there was such a place.
  @inline(__always)
  @discardableResult
  public mutating func removeFast(at place: Int, _ moved: (Element, Int) -> Void) -> Bool {
    guard place >= 0, place < count else { return false }
    let last = removeLast()
    if place < count {
      self[place] = last
      moved(last, place)
    }
    return true
  }
}
