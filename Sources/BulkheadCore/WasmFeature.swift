/// Proposals of WebAssembly that are off unless a crash policy turns them on: what usual toolchains do not emit, and what is
/// the younger, and the larger, part of an engine.
public enum WasmFeature: String, Sendable, CaseIterable {
  /// Proposals by their names, each off in an engine that is not told of it.
  case tailCalls
  case exceptions
  case functionReferences
  /// Needs `functionReferences`, which it brings with it.
  case gc
  /// Proposals by their names.
  case relaxedSimd
  case wideArithmetic
  case customPageSizes

  /// The bit that stands for it on the wire and in the names of compiled modules.
  public var bit: UInt16 { 1 << UInt16(truncatingIfNeeded: Self.allCases.firstIndex(of: self) ?? 0) }

  /// What it adds to the key of an engine, so that modules which are compiled with other features are other files; "" for
  /// none.
  public static func keySuffix(of features: some Sequence<WasmFeature>) -> String {
    let mask = mask(of: features)
    return mask == 0 ? "" : "-f\(String(mask, radix: 16))"
  }

  /// The bits of all of them.
  public static func mask(of features: some Sequence<WasmFeature>) -> UInt16 { features.reduce(0) { $0 | $1.bit } }

  /// The features of a mask, in their order.
  ///
  /// - Returns: nil where it has a bit that stands for none.
  public static func list(mask: UInt16) -> [WasmFeature]? {
    let features = allCases.filter { mask & $0.bit != 0 }
    return Self.mask(of: features) == mask ? features : nil
  }
}
