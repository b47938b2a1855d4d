import BulkheadCore

/// The header that every call of a plugin carries: `x-bulkhead-plugin`, with the plugin's name.
///
/// Who is called can so tell a plugin's request from a client's, and one plugin's from another's. Nobody but the front says
/// it: it is taken out of what clients send, and edits of it by plugins are left out.
public struct CallMark: Equatable, Sendable {
  static let header = "x-bulkhead-plugin"
  /// The most of a name that is told, in bytes: as long as Kubernetes lets one be.
  static let maximumBytes = 253

  let value: String

  /// - Parameter name: of the manifest. A byte that no name of Kubernetes' has is told as `%` and its two digits.
  init(plugin name: String) {
    var text = ""
    for byte in name.utf8.prefix(Self.maximumBytes) {
      if byte != UInt8(ascii: "%"), ASCII.isToken(byte) {
        text.unicodeScalars.append(Unicode.Scalar(byte))
      } else {
        text += "%" + (byte < 0x10 ? "0" : "") + String(byte, radix: 16, uppercase: true)
      }
    }
    value = text
  }

  /// Whether it is the header's name, in lower case.
  public static func isName(_ name: String) -> Bool {
    var name = name
    return name.withUTF8 { UnsafeRawBufferPointer($0).isPluginMark }
  }

  /// The whole field.
  public var field: (name: String, value: String) { (Self.header, value) }
}
