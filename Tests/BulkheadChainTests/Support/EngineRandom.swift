/// Numbers below a bound, the same ones for the same seed.
func engineRandom(_ seed: Int) -> (Int) -> Int {
  var state = UInt64(truncatingIfNeeded: seed) &* 0x9E37_79B9_7F4A_7C15 | 1
  return { below in
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return Int(truncatingIfNeeded: state >> 16) % below
  }
}

struct TestError: Error, CustomStringConvertible { var description: String }
