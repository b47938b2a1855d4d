import BulkheadCore

extension WasmFeature {
  /// What Wasmtime says of a module that uses a feature which is off, in small letters: the words are its own, so a feature
  /// that is not found here costs the advice and nothing else.
  private static let words: [(words: String, feature: WasmFeature)] = [
    ("tail call", .tailCalls), ("exception", .exceptions), ("relaxed simd", .relaxedSimd),
    ("wide arithmetic", .wideArithmetic), ("custom page sizes", .customPageSizes),
    ("function references", .functionReferences), ("the gc feature", .gc), ("gc support", .gc), ("gc proposal", .gc),
  ]

  /// The feature that a module was refused for.
  ///
  /// - Parameter reason: Wasmtime's message on one line; its last part is the cause, what stands before names functions of
  ///   the module.
  static func refused(_ reason: String) -> WasmFeature? {
    let start = reason.lastIndex(of: ":").map { reason.index(after: $0) } ?? reason.startIndex
    let cause = Array(reason[start...].lowercased().utf8)
    return words.first { entry in
      let wanted = Array(entry.words.utf8)
      guard wanted.count <= cause.count else { return false }
      return (0...(cause.count - wanted.count)).contains { cause[$0..<($0 + wanted.count)].elementsEqual(wanted) }
    }?.feature
  }
}

extension WasmtimeError {
  /// With what to do, where a module was refused for a feature that a policy can turn on.
  var advised: WasmtimeError {
    guard let feature = WasmFeature.refused(reason) else { return self }
    var error = self
    error.reason +=
      "; build the module without it, or turn it on with 'wasmFeatures: [\(feature.rawValue)]' in the plugin's policy"
    return error
  }
}
