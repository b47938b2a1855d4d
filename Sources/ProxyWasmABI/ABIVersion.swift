/// The versions of the ABI that Bulkhead speaks. A module says which one it wants by exporting a marker function.
public enum ABIVersion: String, Sendable, CaseIterable {
  /// Headers callbacks without `end_of_stream`, and a missing header that reads as an empty one.
  case version010 = "proxy_abi_version_0_1_0"
  /// Tells callbacks about headers whether the message ends with them; a missing header is `notFound`.
  case version020 = "proxy_abi_version_0_2_0"
  /// 0.2.0 with `proxy_get_log_level`.
  case version021 = "proxy_abi_version_0_2_1"
  /// Higress: 0.2.1 with imports of its own, and `headersStopIteration`.
  case version02100 = "proxy_abi_version_0_2_100"

  /// Whether the callbacks for headers are told if the message ends with them.
  @inlinable
  public var headersTellEndOfStream: Bool { self != .version010 }

  /// Whether 1 from a callback about headers is `StopIteration`: the headers wait and the callbacks of the body come.
  @inlinable
  public var headersStopIteration: Bool { self == .version02100 }

  /// Whether a header that is not there reads as an empty one.
  @inlinable
  public var missingHeaderIsEmpty: Bool { self == .version010 }

  /// What every marker begins with.
  public static let markerPrefix = "proxy_abi_version_"

  /// The newest version that a module's exports ask for.
  ///
  /// - Throws: `ABIError` where there is no marker, or none that Bulkhead speaks.
  public static func detect(exports: some Sequence<String>) throws(ABIError) -> ABIVersion {
    let markers = exports.filter { $0.hasPrefix(markerPrefix) }
    guard !markers.isEmpty else { throw .noMarker }
    guard let version = allCases.last(where: { markers.contains($0.rawValue) }) else {
      throw .unsupported(markers.sorted())
    }
    return version
  }
}

/// A module that is no plugin for this host.
public enum ABIError: Error, Equatable, CustomStringConvertible {
  /// It exports no marker at all.
  case noMarker
  /// It exports markers of other versions alone.
  case unsupported([String])

  public var description: String {
    let spoken = ABIVersion.allCases.map(\.rawValue).joined(separator: ", ")
    return switch self {
    case .noMarker:
      "the module exports no \(ABIVersion.markerPrefix)*: it is not a Proxy-Wasm plugin (Bulkhead runs \(spoken))"
    case .unsupported(let markers):
      "the module is built for \(markers.joined(separator: ", ")); Bulkhead runs \(spoken): rebuild it with an SDK of one"
    }
  }
}
