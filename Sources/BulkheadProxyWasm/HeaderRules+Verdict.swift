import BulkheadCore
import ProxyWasmABI

/// What becomes of an entry that may not stand in a header map as the plugin gave it.
///
/// Such bytes come from clients as a rule (a decoded query, a claim of a token), and an SDK that is answered anything but OK
/// may end the plugin: so the hostcall answers OK, and what is wrong with the entry concerns its message alone.
extension HeaderRules {
  enum Verdict: Equatable {
    case allowed
    /// Goes with this value.
    case mended([UInt8])
    /// The message goes without it.
    case leftOut
    /// The message means nothing with it, and something else without it.
    case unsendable
  }

  /// The name that a map of requests has for it: `host` is `:authority`, as it is in Envoy.
  @inline(__always)
  static func ownName(_ name: UnsafeRawBufferPointer, in map: MapType) -> UnsafeRawBufferPointer {
    guard map == .requestHeaders, name.equalsIgnoringCase("host") else { return name }
    let authority: StaticString = ":authority"
    return UnsafeRawBufferPointer(start: authority.utf8Start, count: authority.utf8CodeUnitCount)
  }

  /// - Parameter name: in `ownName`'s form.
  @inline(__always)
  static func judge(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, in map: Map) -> Verdict {
    allows(name, value, in: map) ? .allowed : judgeRefused(name, value, in: map)
  }

  @inline(never)
  private static func judgeRefused(
    _ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, in map: Map
  ) -> Verdict {
    if isPseudo(name) {
      switch (map, PseudoHeader(name)) {
      case (.request, .path): return path(value)
      case (.request, .method), (.request, .authority), (.response, .status): return .unsendable
      default: return .leftOut
      }
    }
    // RFC 9110, 5.5: CR, LF and NUL in a value are replaced with SP before it goes on; so are the other controls.
    let mended = trimmed(value.map { isValue($0) ? $0 : UInt8(ascii: " ") })
    return mended.withUnsafeBytes { allows(name, $0, in: map) } ? .mended(mended) : .leftOut
  }

  /// White space at either end is no part of a value.
  private static func trimmed(_ bytes: [UInt8]) -> [UInt8] {
    guard let first = bytes.firstIndex(where: { !ASCII.isBlank($0) }),
      let last = bytes.lastIndex(where: { !ASCII.isBlank($0) })
    else { return [] }
    return Array(bytes[first...last])
  }

  /// A path with bytes that no request line may have has them percent-encoded (RFC 3986, 2.1). What is no path at all
  /// cannot be mended.
  private static func path(_ value: UnsafeRawBufferPointer) -> Verdict {
    guard value.first == UInt8(ascii: "/") else { return .unsendable }
    let digits = Array("0123456789ABCDEF".utf8)
    var mended: [UInt8] = []
    mended.reserveCapacity(value.count &+ 16)
    for byte in value {
      if RequestGrammar.isTarget(byte) {
        mended.append(byte)
      } else {
        mended += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      }
    }
    return mended.withUnsafeBytes { allows(.path, $0, in: .request) } ? .mended(mended) : .unsendable
  }
}
