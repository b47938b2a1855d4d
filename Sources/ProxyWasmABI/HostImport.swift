/// Everything that a plugin can import, in one numbering: what a host links.
public enum HostImport: Sendable, Equatable {
  /// A function of the ABI itself, under the type that hosts and SDKs give it.
  case hostcall(Hostcall)
  /// A function of WASI, under either name of its module.
  case wasi(WASICall)
  /// A hostcall under a type without a result: the text of ABI 0.1.0 has some so, which the hosts and SDKs of its time
  /// give a status all the same. A module may import either.
  case withoutResult(Hostcall)
  /// A support function of Emscripten's library.
  case emscripten(EmscriptenCall)

  /// Where the numbers of the WASI functions begin.
  private static let wasiBase: UInt32 = 256
  private static let withoutResultBase: UInt32 = 512
  private static let emscriptenBase: UInt32 = 768

  /// Stands for the function when the guest calls it.
  public var number: UInt32 {
    switch self {
    case .hostcall(let call): call.rawValue
    case .wasi(let call): Self.wasiBase + call.rawValue
    case .withoutResult(let call): Self.withoutResultBase + call.rawValue
    case .emscripten(let call): Self.emscriptenBase + call.rawValue
    }
  }

  /// The name of the import.
  public var name: String {
    switch self {
    case .hostcall(let call), .withoutResult(let call): call.name
    case .wasi(let call): call.name
    case .emscripten(let call): call.name
    }
  }

  /// The function of that number, or nil where there is none.
  @inlinable
  public init?(number: UInt32) {
    if let call = Hostcall(rawValue: number) {
      self = .hostcall(call)
    } else if number >= 768, let call = EmscriptenCall(rawValue: number - 768) {
      self = .emscripten(call)
    } else if number >= 512, let call = Hostcall(rawValue: number - 512), Hostcall.withoutResult.contains(call) {
      self = .withoutResult(call)
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
    case .withoutResult(let call): Signature(call.signature.parameters, [])
    case .emscripten(let call): call.signature
    }
  }

  /// Every import that links: module, name and function. A name that stands there twice has two types.
  public static var all: [(module: String, name: String, function: HostImport)] {
    var result: [(module: String, name: String, function: HostImport)] = []
    for call in Hostcall.allCases { result.append((Hostcall.module, call.name, .hostcall(call))) }
    for call in Hostcall.withoutResult { result.append((Hostcall.module, call.name, .withoutResult(call))) }
    for call in EmscriptenCall.allCases { result.append((EmscriptenCall.module, call.name, .emscripten(call))) }
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
