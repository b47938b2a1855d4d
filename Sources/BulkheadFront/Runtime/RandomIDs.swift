/// Makes request ids in the shape of a UUID (version 4): unique, cheap, and no secret. One event loop.
struct RandomIDs {
  private var state: (UInt64, UInt64)

  init() {
    var seed = SystemRandomNumberGenerator()
    state = (seed.next() | 1, seed.next())
  }

  /// xoroshiro128+.
  @inline(__always)
  mutating func next() -> UInt64 {
    let result = state.0 &+ state.1
    let mixed = state.1 ^ state.0
    state.0 = (state.0 << 24 | state.0 >> 40) ^ mixed ^ (mixed << 16)
    state.1 = mixed << 37 | mixed >> 27
    return result
  }

  /// Calls `body` with the 36 characters of a new id.
  @inline(__always)
  mutating func withNewID<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
    let high = (next() & ~0xF000) | 0x4000
    let low = (next() & ~(3 << 62)) | (2 << 62)
    return withUnsafeTemporaryAllocation(byteCount: 36, alignment: 8) { bytes in
      var at = 0
      for index in 0..<32 {
        if index == 8 || index == 12 || index == 16 || index == 20 {
          bytes[at] = UInt8(ascii: "-")
          at &+= 1
        }
        let word = index < 16 ? high : low
        let digit = UInt8(truncatingIfNeeded: word >> UInt64(60 &- (index & 15) &* 4)) & 15
        bytes[at] = digit < 10 ? 0x30 &+ digit : 0x57 &+ digit
        at &+= 1
      }
      return body(UnsafeRawBufferPointer(bytes))
    }
  }
}
