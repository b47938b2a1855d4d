/// Reads the fields of a serialized protobuf message: total, it never reads outside its bytes. It borrows them.
struct ProtobufReader {
  enum Value {
    case varint(UInt64)
    case fixed64(UInt64)
    case bytes(UnsafeRawBufferPointer)
    case fixed32(UInt32)

    /// The bytes of a string, of bytes or of a message; nil of a number.
    var bytes: UnsafeRawBufferPointer? { if case .bytes(let bytes) = self { bytes } else { nil } }
    /// An integer, an enum or a boolean; nil of anything else.
    var number: UInt64? { if case .varint(let number) = self { number } else { nil } }
  }

  private let message: UnsafeRawBufferPointer
  private var at = 0

  init(_ message: UnsafeRawBufferPointer) { self.message = message }

  struct Malformed: Error {}

  /// The next field, nil at the end.
  mutating func next() throws(Malformed) -> (number: UInt64, value: Value)? {
    guard at < message.count else { return nil }
    let tag = try varint()
    let number = tag >> 3
    guard number > 0, number < 1 << 29 else { throw Malformed() }
    switch tag & 7 {
    case 0: return (number, .varint(try varint()))
    case 1: return (number, .fixed64(UInt64(littleEndian: try take(8).loadUnaligned(as: UInt64.self))))
    case 2:
      let count = try varint()
      guard count <= UInt64(message.count) else { throw Malformed() }
      return (number, .bytes(try take(Int(count))))
    case 5: return (number, .fixed32(UInt32(littleEndian: try take(4).loadUnaligned(as: UInt32.self))))
    // Groups are no part of what is read here.
    default: throw Malformed()
    }
  }

  private mutating func varint() throws(Malformed) -> UInt64 {
    var value: UInt64 = 0
    for shift in 0..<10 {
      guard at < message.count else { throw Malformed() }
      let byte = message[at]
      at &+= 1
      value |= UInt64(byte & 0x7F) &<< UInt64(7 &* shift)
      if byte < 0x80 { return value }
    }
    throw Malformed()
  }

  private mutating func take(_ count: Int) throws(Malformed) -> UnsafeRawBufferPointer {
    guard count <= message.count &- at else { throw Malformed() }
    let slice = UnsafeRawBufferPointer(rebasing: message[at..<(at &+ count)])
    at &+= count
    return slice
  }

  /// The fields of a message that have the numbers from 1 to 5, as no message that is read here has others.
  struct Fields {
    fileprivate var first: Value?
    fileprivate var second: Value?
    fileprivate var third: Value?
    fileprivate var fourth: Value?
    fileprivate var fifth: Value?

    fileprivate(set) subscript(_ number: UInt64) -> Value? {
      get {
        switch number {
        case 1: first
        case 2: second
        case 3: third
        case 4: fourth
        case 5: fifth
        default: nil
        }
      }
      set {
        switch number {
        case 1: first = newValue
        case 2: second = newValue
        case 3: third = newValue
        case 4: fourth = newValue
        case 5: fifth = newValue
        // A message may have as many as it likes: nobody asks for them, and they are not kept.
        default: break
        }
      }
    }
  }

  /// The fields, the last of several of one number; nil where the bytes are no message.
  static func fields(_ message: UnsafeRawBufferPointer) -> Fields? {
    var reader = ProtobufReader(message)
    var fields = Fields()
    do throws(Malformed) {
      while let (number, value) = try reader.next() { fields[number] = value }
      return fields
    } catch {
      return nil
    }
  }

  /// The bytes of one field; nil where there is none, or the bytes are no message.
  static func field(_ number: UInt64, of message: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    fields(message).flatMap { $0[number]?.bytes }
  }
}

/// Writes a serialized protobuf message.
struct ProtobufWriter {
  private(set) var bytes: [UInt8] = []

  private mutating func varint(_ value: UInt64) {
    var rest = value
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    bytes.append(UInt8(truncatingIfNeeded: rest))
  }

  /// A boolean; false is what an absent one means.
  mutating func bool(_ number: UInt64, _ value: Bool) {
    guard value else { return }
    varint(number << 3)
    bytes.append(1)
  }

  /// A string or bytes; none is what an absent one means.
  mutating func bytes(_ number: UInt64, _ value: some Collection<UInt8>) {
    guard !value.isEmpty else { return }
    varint(number << 3 | 2)
    varint(UInt64(value.count))
    bytes.append(contentsOf: value)
  }
}
