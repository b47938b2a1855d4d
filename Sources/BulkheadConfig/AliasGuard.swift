/// Says whether text may hold an alias within a mapping's key.
///
/// The parser hashes keys to find duplicates, and aliases in a key may expand without bound before our own bounds are
/// asked. So this reads the text itself, and rather sees one too many: what looks like an alias counts where a key can
/// end after it on its line, or together with anything that looks like an explicit key (`? `). An implicit key never
/// goes over the end of a line.
struct AliasGuard {
  let mayBeInKey: Bool

  init(_ text: String) {
    var aliases = false
    var explicitKeys = false
    var endsKey = false
    var aliasOnLine = false
    var inAlias = false
    // Whether a ':' here would end a key that holds an alias.
    var mayEnd = false
    var previous: UInt8 = 0x0A
    for byte in text.utf8 {
      let isName = Self.isName(byte)
      inAlias = isName && (inAlias || previous == UInt8(ascii: "*"))
      switch byte {
      case _ where inAlias:
        aliases = true
        aliasOnLine = true
        mayEnd = true
      case 0x0A, 0x0D:
        aliasOnLine = false
        mayEnd = false
      case UInt8(ascii: ":"):
        endsKey = endsKey || mayEnd
        mayEnd = false
      case UInt8(ascii: "]"), UInt8(ascii: "}"): mayEnd = aliasOnLine
      case 0x20, 0x09: break
      default:
        if byte == UInt8(ascii: "?"), !Self.isName(previous) { explicitKeys = true }
        mayEnd = false
      }
      previous = byte
    }
    mayBeInKey = endsKey || (aliases && explicitKeys)
  }

  /// The bytes of an anchor's name.
  private static func isName(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x5F, 0x2D: true
    default: false
    }
  }
}
