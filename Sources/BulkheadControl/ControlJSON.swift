import FoundationEssentials

/// The JSON of the control API: keys sorted, slashes as they are, no insignificant blanks unless asked for.
public enum ControlJSON {
  /// The media type of every body.
  public static let contentType = "application/json"

  /// The bytes of a body.
  ///
  /// - Throws: `EncodingError` for a number that JSON has no way to write (not finite).
  public static func encode(_ value: some Encodable, pretty: Bool = false) throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    if pretty { encoder.outputFormatting.insert(.prettyPrinted) }
    return [UInt8](try encoder.encode(value))
  }

  /// Reads a body. Keys that the type does not know are passed over, so that a newer supervisor can say more.
  ///
  /// - Throws: `DecodingError` where the bytes are not JSON or not of this type.
  public static func decode<Value: Decodable>(_ type: Value.Type, from bytes: some Sequence<UInt8>) throws -> Value {
    try JSONDecoder().decode(type, from: Data(bytes))
  }
}
