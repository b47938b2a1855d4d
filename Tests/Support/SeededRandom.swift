/// Numbers from 0 to below the one asked for, the same ones for the same seed.
package func seededRandom(_ seed: Int) -> (Int) -> Int {
  var state = UInt64(truncatingIfNeeded: seed) &* 0x9E37_79B9_7F4A_7C15 | 1
  return { below in
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return Int(truncatingIfNeeded: state >> 16) % below
  }
}

/// What a test could not set up, for people.
package struct TestError: Error, CustomStringConvertible {
  package var description: String
  package init(description: String) { self.description = description }
}
