/// Stream contexts by a number: open addressing with linear probing, no removal marks. It allocates when it grows only.
struct ContextTable {
  private var keys: [UInt64]
  private var values: [StreamContext?]
  private var mask: Int
  private(set) var count = 0

  init() {
    keys = Array(repeating: 0, count: 64)
    values = Array(repeating: nil, count: 64)
    mask = 63
  }

  @inline(__always)
  private func home(_ key: UInt64) -> Int {
    // The numbers come in sequence: multiplying spreads what their low bits share.
    Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) &>> 32) & mask
  }

  @inline(__always)
  subscript(_ key: UInt64) -> StreamContext? {
    var at = home(key)
    while let value = values[at] {
      if keys[at] == key { return value }
      at = (at &+ 1) & mask
    }
    return nil
  }

  /// Adds a context under a number that is not there yet.
  mutating func insert(_ key: UInt64, _ value: StreamContext) {
    if (count &+ 1) &* 2 > values.count { grow() }
    var at = home(key)
    while values[at] != nil { at = (at &+ 1) & mask }
    keys[at] = key
    values[at] = value
    count &+= 1
  }

  /// Removes what stands under the number, if anything does.
  mutating func remove(_ key: UInt64) {
    var hole = home(key)
    while true {
      guard values[hole] != nil else { return }
      if keys[hole] == key { break }
      hole = (hole &+ 1) & mask
    }
    count &-= 1
    // What follows moves up where its way from home leads over the hole.
    var at = (hole &+ 1) & mask
    while values[at] != nil {
      let distance = (at &- home(keys[at])) & mask
      if distance >= (at &- hole) & mask {
        keys[hole] = keys[at]
        values[hole] = values[at]
        hole = at
      }
      at = (at &+ 1) & mask
    }
    values[hole] = nil
  }

  /// All contexts, in no order.
  var all: [StreamContext] { values.compactMap { $0 } }

  private mutating func grow() {
    let (oldKeys, oldValues) = (keys, values)
    keys = Array(repeating: 0, count: oldKeys.count * 2)
    values = Array(repeating: nil, count: oldValues.count * 2)
    mask = keys.count - 1
    count = 0
    for (key, value) in zip(oldKeys, oldValues) {
      if let value { insert(key, value) }
    }
  }
}
