import ProxyWasmABI

/// What a plugin may use: an allow-list of hostcalls, WASI calls and callbacks, as Envoy's
/// `capability_restriction_config`. Without a list it is one comparison a call.
///
/// Never restricted: how a module starts, its allocator, `proxy_on_context_create`, and the support functions of Emscripten.
struct Capabilities {
  /// By `HostImport.number`; empty where nothing is denied.
  private var deniedImports: [Bool] = []
  private var deniedExports: UInt64 = 0

  /// - Parameter allowed: names of imports (`proxy_log`, `fd_write`) and of callbacks (`proxy_on_tick`); nil allows all.
  init(allowed: [String]?) {
    guard let allowed else { return }
    let names = Set(allowed)
    for entry in HostImport.all where entry.function.isRestrictable && !names.contains(entry.name) {
      let number = Int(entry.function.number)
      while deniedImports.count <= number { deniedImports.append(false) }
      deniedImports[number] = true
    }
    for export in GuestExport.allCases where export.isRestrictable && !names.contains(export.name) {
      deniedExports |= 1 << UInt64(export.rawValue)
    }
  }

  @inline(__always)
  func allow(import number: UInt32) -> Bool {
    guard !deniedImports.isEmpty else { return true }
    return Int(number) >= deniedImports.count || !deniedImports[Int(number)]
  }

  @inline(__always)
  func allow(_ export: GuestExport) -> Bool { deniedExports & (1 << UInt64(export.rawValue)) == 0 }
}

extension HostImport {
  fileprivate var isRestrictable: Bool {
    if case .emscripten = self { return false }
    return self != .hostcall(.notifyMemoryGrowth)
  }
}

extension GuestExport {
  fileprivate var isRestrictable: Bool {
    switch self {
    case .initialize, .start, .main, .mainVoid, .memoryAllocate, .malloc, .contextCreate: false
    default: true
    }
  }
}

extension PluginConfiguration {
  /// The names among `capabilities` that no import and no callback has: they allow nothing.
  public var unknownCapabilities: [String] {
    guard let capabilities else { return [] }
    let known = Set(HostImport.all.map(\.name)).union(GuestExport.allCases.map(\.name))
    return capabilities.filter { !known.contains($0) }
  }
}

extension PluginHost {
  /// Answers a call that the plugin may not make; said once a function.
  func refuse(_ function: HostImport?, _ arguments: HostcallArguments) -> HostcallOutcome {
    guard let function else {
      arguments.setResult(Status.unimplemented.rawValue)
      return .returned
    }
    if refusedImports.insert(function.number).inserted {
      warn(
        "the plugin called \(function.name), which its capabilities do not allow: it is refused, and every further call"
      )
    }
    // Who wanted to answer a stream is about to pause it for good.
    if function == .hostcall(.sendLocalResponse), let active, !active.isEnded {
      refuseAnswer(active, "the plugin's capabilities do not allow proxy_send_local_response")
    }
    switch function {
    case .hostcall: arguments.setResult(Status.internalFailure.rawValue)
    case .wasi(.procExit), .withoutResult, .emscripten: break
    case .wasi: arguments.setResult(WASIError.notCapable.rawValue)
    }
    return .returned
  }
}
