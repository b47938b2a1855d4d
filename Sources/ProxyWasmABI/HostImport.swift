/// Everything that a plugin can import, in one numbering: what a host links.
public enum HostImport: Sendable, Equatable {
  case hostcall(Hostcall)
  case wasi(WASICall)

  /// Where the numbers of the WASI functions begin.
  private static let wasiBase: UInt32 = 256

  /// Stands for the function when the guest calls it.
  public var number: UInt32 {
    switch self {
    case .hostcall(let call): call.rawValue
    case .wasi(let call): Self.wasiBase + call.rawValue
    }
  }

  /// The function of that number, or nil where there is none.
  @inlinable
  public init?(number: UInt32) {
    if let call = Hostcall(rawValue: number) {
      self = .hostcall(call)
    } else if number >= 256, let call = WASICall(rawValue: number - 256) {
      self = .wasi(call)
    } else {
      return nil
    }
  }

  /// The type that a module must import it with.
  public var signature: Signature {
    switch self {
    case .hostcall(let call): call.signature
    case .wasi(let call): call.signature
    }
  }

  /// Every import that links: module, name and function.
  public static var all: [(module: String, name: String, function: HostImport)] {
    var result: [(module: String, name: String, function: HostImport)] = []
    for call in Hostcall.allCases { result.append((Hostcall.module, call.name, .hostcall(call))) }
    for module in WASICall.modules {
      for call in WASICall.allCases { result.append((module, call.name, .wasi(call))) }
    }
    return result
  }

  /// The names among imports (`module.name`) that no host function has.
  public static func unknown(among imports: some Sequence<String>) -> [String] {
    let known = Set(all.map { "\($0.module).\($0.name)" })
    return imports.filter { !known.contains($0) }
  }

  /// The names among imports (`module.name`) that link but answer `Status.unimplemented`.
  public static func unimplemented(among imports: some Sequence<String>) -> [String] {
    let names = Set(Hostcall.allCases.filter { !$0.isImplemented }.map { "\(Hostcall.module).\($0.name)" })
    return imports.filter { names.contains($0) }
  }
}
