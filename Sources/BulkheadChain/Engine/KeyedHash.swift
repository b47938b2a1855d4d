/// A hash of 64 bits with a secret key: who does not know the key cannot make two inputs that come to the same. It is no
/// signature: what comes out is not shown to those who choose what goes in.
public struct KeyedHash: Sendable {
  /// What makes the hashes of one process others than those of another.
  public struct Key: Sendable {
    fileprivate var start: UInt64
    fileprivate var factor: UInt64

    /// Of this process alone.
    public static func random() -> Key {
      var source = SystemRandomNumberGenerator()
      return Key(start: source.next(), factor: source.next() | 1)
    }
  }

  private var state: UInt64
  private let factor: UInt64

  /// The hash of nothing yet.
  public init(_ key: Key) {
    state = key.start
    factor = key.factor
  }

  /// Adds a number.
  @inline(__always)
  public mutating func add(_ word: UInt64) {
    let product = (state ^ word).multipliedFullWidth(by: factor)
    // Never all zeros, which nothing would change any more.
    state = (product.high ^ product.low) &+ 0x9E37_79B9_7F4A_7C15
  }

  /// Adds bytes and their number, so that what follows is told apart from them.
  @inline(__always)
  public mutating func add(_ bytes: UnsafeRawBufferPointer) {
    var at = 0
    while at &+ 8 <= bytes.count {
      add(bytes.loadUnaligned(fromByteOffset: at, as: UInt64.self))
      at &+= 8
    }
    var rest: UInt64 = 0
    while at < bytes.count {
      rest = rest &<< 8 | UInt64(bytes[at])
      at &+= 1
    }
    add(rest | UInt64(truncatingIfNeeded: bytes.count) &<< 56)
  }

  /// Never 0, which stands for none.
  public var value: UInt64 { state | 1 }
}
