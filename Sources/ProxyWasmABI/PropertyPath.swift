/// Property paths: parts with a NUL between them. The C++ SDK ends them with a NUL too, which is no part of the path.
public enum PropertyPath {
  /// The path without the NULs at its end.
  public static func normalized(_ path: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    var count = path.count
    while count > 0, unsafe path[count - 1] == 0 { count -= 1 }
    return unsafe UnsafeRawBufferPointer(rebasing: path[..<count])
  }

  /// The path as it travels, from its written form (`request.headers` or parts).
  public static func bytes(_ parts: String...) -> [UInt8] {
    var result: [UInt8] = []
    for (index, part) in parts.enumerated() {
      if index > 0 { result.append(0) }
      result.append(contentsOf: part.utf8)
    }
    return result
  }

  /// The first part, and what follows its NUL; nil where there is one part alone.
  public static func split(
    _ path: UnsafeRawBufferPointer
  ) -> (first: UnsafeRawBufferPointer, rest: UnsafeRawBufferPointer?) {
    for index in 0..<path.count where unsafe path[index] == 0 {
      return unsafe (
        UnsafeRawBufferPointer(rebasing: path[..<index]), UnsafeRawBufferPointer(rebasing: path[(index + 1)...])
      )
    }
    return unsafe (path, nil)
  }

  /// First parts of what the host itself gives. Plugins set properties under other names alone: under these, what one
  /// set would be taken by the next for the host's word.
  private static let reserved: [StaticString] = [
    "request", "response", "connection", "connection_id", "source", "destination", "upstream", "xds", "node",
    "plugin_name", "plugin_root_id", "plugin_vm_id", "listener_name", "listener_direction", "listener_metadata",
    "cluster_name", "cluster_metadata", "route_name", "route_metadata", "upstream_host_metadata",
  ]

  /// Whether the path begins with a name that is the host's.
  public static func isReserved(_ path: UnsafeRawBufferPointer) -> Bool {
    let first = unsafe split(path).first
    return reserved.contains { name in
      unsafe name.utf8CodeUnitCount == first.count
        && first.elementsEqual(UnsafeBufferPointer(start: name.utf8Start, count: first.count))
    }
  }

  /// The path as people write it: a dot for each NUL.
  public static func text(_ path: UnsafeRawBufferPointer) -> String {
    unsafe String(decoding: path.map { $0 == 0 ? UInt8(ascii: ".") : $0 }, as: UTF8.self)
  }
}

/// How property values are encoded: integers, doubles, durations and timestamps (both ns) in 8 bytes little-endian,
/// booleans in 1, strings raw.
public enum PropertyValue {
  /// An integer, a duration or a timestamp.
  public static func bytes(_ value: Int64) -> [UInt8] { bytes(UInt64(bitPattern: value)) }
  /// An unsigned integer.
  public static func bytes(_ value: UInt64) -> [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: value >> (8 * UInt64($0))) }
  }
  /// A floating-point number.
  public static func bytes(_ value: Double) -> [UInt8] { bytes(value.bitPattern) }
  /// A boolean.
  public static func bytes(_ value: Bool) -> [UInt8] { [value ? 1 : 0] }
  /// A string, as UTF-8.
  public static func bytes(_ value: String) -> [UInt8] { [UInt8](value.utf8) }
}
