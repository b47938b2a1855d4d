import BulkheadWire
import ProxyWasmABI

/// How the bytes of a property are a value: properties carry no type, so it goes by their names, as in Envoy.
enum CELAttributeType {
  case string
  case bytes
  case int
  case uint
  case bool
  case duration
  case timestamp
  /// Serialized pairs of strings.
  case map

  private static let types: [String: CELAttributeType] = [
    "request.size": .int, "request.total_size": .int, "request.time": .timestamp, "request.duration": .duration,
    "request.headers": .map, "request.trailers": .map,
    "response.code": .int, "response.size": .int, "response.total_size": .int, "response.flags": .int,
    "response.grpc_status": .int, "response.headers": .map, "response.trailers": .map,
    "response.backend_latency": .duration,
    "source.port": .int, "destination.port": .int, "upstream.port": .int, "upstream.local_port": .int,
    "upstream.request_attempt_count": .uint,
    "connection.id": .uint, "connection_id": .uint, "connection.mtls": .bool,
    "listener_direction": .int, "xds.listener_direction": .int,
  ]

  /// The type of a well-known property; strings are all others of a family that is well known.
  ///
  /// - Returns: nil for a name that only a plugin can have given.
  init?(wellKnown path: [UInt8]) {
    let text = path.withUnsafeBytes { PropertyPath.text($0) }
    if let type = Self.types[text] {
      self = type
      return
    }
    let family = text.prefix { $0 != "." }
    let families: Set<Substring> = [
      "request", "response", "source", "destination", "connection", "upstream", "node", "xds", "plugin_name",
      "plugin_root_id", "plugin_vm_id", "cluster_name", "route_name", "filter_state",
    ]
    guard families.contains(family) else { return nil }
    self = .string
  }

  /// The value; bytes that are not what the type has are taken as a string.
  func value(_ bytes: [UInt8]) -> CELValue {
    switch self {
    case .string: return .string(bytes)
    case .bytes: return .bytes(bytes)
    case .bool: if bytes.count == 1 { return .bool(bytes[0] != 0) }
    case .map:
      let entries = bytes.withUnsafeBytes { bytes in
        (try? PairsView(bytes)).map { pairs in
          var entries: [CELEntry] = []
          pairs.visit { entries.append(CELEntry(key: .string([UInt8]($0)), value: .string([UInt8]($1)))) }
          return entries
        }
      }
      if let entries { return .map(entries) }
    case .int, .uint, .duration, .timestamp:
      guard bytes.count == 8 else { break }
      let number = bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
      switch self {
      case .uint: return .uint(number)
      case .duration: return .duration(Int64(bitPattern: number))
      case .timestamp: return .timestamp(Int64(bitPattern: number))
      default: return .int(Int64(bitPattern: number))
      }
    }
    return .string(bytes)
  }
}
