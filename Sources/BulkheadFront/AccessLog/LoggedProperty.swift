import BulkheadCore

/// A field of the access log that names a property, with where its value comes from.
struct LoggedProperty {
  /// Where the value comes from, beside what plugins have set under that path.
  enum Source: Equatable {
    case requestHeader([UInt8])
    case responseHeader([UInt8])
    case scheme
    case host
    case userAgent
    case referer
    case upstreamAddress
    case destinationAddress
    case listenerDirection
    case clusterName
    case plugin
  }

  let name: String
  /// The property's path, with dots between its parts.
  let property: [UInt8]
  let source: Source

  init(_ field: AccessLogField) {
    name = field.name
    let property = field.property
    self.property = Array(property.utf8)
    source =
      if let header = Self.suffix(property, after: "request.headers.") {
        .requestHeader(header)
      } else if let header = Self.suffix(property, after: "response.headers.") {
        .responseHeader(header)
      } else {
        Self.known[property] ?? .plugin
      }
  }

  private static let known: [String: Source] = [
    "request.scheme": .scheme, "request.host": .host, "request.useragent": .userAgent, "request.referer": .referer,
    "upstream.address": .upstreamAddress, "destination.address": .destinationAddress,
    "listener_direction": .listenerDirection, "cluster_name": .clusterName,
  ]

  private static func suffix(_ text: String, after prefix: String) -> [UInt8]? {
    guard text.hasPrefix(prefix) else { return nil }
    return text.utf8.dropFirst(prefix.utf8.count).map { (0x41...0x5A).contains($0) ? $0 | 0x20 : $0 }
  }

  /// Whether a property's path, with NULs between its parts, is the one that the field names.
  func names(_ path: [UInt8]) -> Bool {
    guard path.count == property.count else { return false }
    return zip(path, property).allSatisfy { ($0 == 0 ? UInt8(ascii: ".") : $0) == $1 }
  }

  /// What plugins have set under that path, the last one.
  func value(among properties: [(path: [UInt8], value: [UInt8])]) -> [UInt8]? {
    properties.last { names($0.path) }?.value
  }
}
