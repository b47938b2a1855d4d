import BulkheadCore
import ProxyWasmABI

/// The names that `capabilities` of a crash policy may hold: what Envoy's `capability_restriction_config` takes.
enum CapabilityNames {
  /// Hostcalls and WASI functions by the names of their imports, callbacks by the names of their exports.
  static let all: Set<String> = {
    var names = Set(Hostcall.allCases.map(\.name))
    names.formUnion(WASICall.allCases.map(\.name))
    names.formUnion(GuestExport.allCases.map(\.name).filter { $0.hasPrefix("proxy_on_") })
    return names
  }()

  /// The names of a list, each once, in its order; unknown ones are reported.
  static func decode(_ list: Field) -> [String] {
    var names: [String] = []
    for field in list.elements() ?? [] {
      guard let name = field.nonEmptyString() else { continue }
      guard all.contains(name) else {
        field.report(
          "there is no hostcall, WASI function or callback '\(name)'",
          suggestion: NearestName.of(name, among: all.sorted()))
        continue
      }
      if !names.contains(name) { names.append(name) }
    }
    return names
  }
}
