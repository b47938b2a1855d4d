import BulkheadControl

/// What a request to the control socket asks for.
enum ControlRoute: Equatable, Sendable {
  case status
  case plugins
  case workers
  case metrics
  case policies
  case policy(String)
  case policyOf(plugin: String)
  case reload
  case upgrade
  case restart(plugin: String)
  case reset(plugin: String)

  /// Why a request is none.
  enum Refusal: Error, Equatable, Sendable {
    case notFound
    case methodNotAllowed(allow: String)
  }

  /// Reads method and target of a request; a query is passed over.
  static func parse(method: String, target: String) -> Result<ControlRoute, Refusal> {
    let path = target.prefix { $0 != "?" && $0 != "#" }
    let segments = path.split(separator: "/", omittingEmptySubsequences: false).dropFirst()
    guard path.hasPrefix("/"), segments.first == "v1" else { return .failure(.notFound) }
    let rest = Array(segments.dropFirst())
    let route: ControlRoute
    let allowed: String
    switch rest.count {
    case 1:
      switch rest[0] {
      case "status": route = .status
      case "plugins": route = .plugins
      case "workers": route = .workers
      case "metrics": route = .metrics
      case "policies": route = .policies
      case "reload": route = .reload
      case "upgrade": route = .upgrade
      default: return .failure(.notFound)
      }
      allowed = route == .reload || route == .upgrade ? "POST" : "GET"
    case 2 where rest[0] == "policies":
      guard let name = decoded(rest[1]), !name.isEmpty else { return .failure(.notFound) }
      route = .policy(name)
      allowed = "GET"
    case 3 where rest[0] == "plugins" && rest[2] == "policy":
      guard let name = decoded(rest[1]), !name.isEmpty else { return .failure(.notFound) }
      route = .policyOf(plugin: name)
      allowed = "GET"
    case 3 where rest[0] == "plugins":
      guard let name = decoded(rest[1]), !name.isEmpty else { return .failure(.notFound) }
      switch rest[2] {
      case "restart": route = .restart(plugin: name)
      case "reset": route = .reset(plugin: name)
      default: return .failure(.notFound)
      }
      allowed = "POST"
    default: return .failure(.notFound)
    }
    return method == allowed ? .success(route) : .failure(.methodNotAllowed(allow: allowed))
  }

  /// A path segment without its percent-encoding; nil where that is malformed or not UTF-8.
  private static func decoded(_ segment: Substring) -> String? {
    var bytes: [UInt8] = []
    var rest = segment.utf8[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      guard let high = rest.popFirst().flatMap(hexadecimal), let low = rest.popFirst().flatMap(hexadecimal) else {
        return nil
      }
      bytes.append(high << 4 | low)
    }
    return String(validating: bytes, as: UTF8.self)
  }

  private static func hexadecimal(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 0x30...0x39: byte - 0x30
    case 0x41...0x46: byte - 0x41 + 10
    case 0x61...0x66: byte - 0x61 + 10
    default: nil
    }
  }
}
