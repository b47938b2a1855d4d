import BulkheadCore
import BulkheadProxyWasm
import BulkheadWire
import ProxyWasmABI
import Testing

@Suite struct ABITests {
  @Test func aMissingHeaderIsEmptyInTheFirstABI() throws {
    for abi in ABIVersion.allCases {
      let harness = try Harness { $0.abi = abi }
      harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
        for map in [MapType.requestHeaders, .responseHeaders] {
          let (key, size) = harness.guest.put("nothing")
          let status = harness.call(.getHeaderMapValue, map.rawValue, key, size, harness.out, harness.out + 4)
          #expect(status == (abi == .version010 ? .ok : .notFound), "\(abi)")
          if abi == .version010 { #expect(harness.guest.word(harness.out + 4) == 0) }
        }
        return 0
      }
      try harness.run(.requestHeaders)
    }
  }

  @Test func theConfigurationIsTheOneThatIsBeingTold() throws {
    let harness = try Harness { $0.abi = .version010 }
    var read: [String] = []
    let note: (UInt32, UInt32, UInt32) -> UInt32? = { [unowned harness] _, _, _ in
      #expect(harness.call(.getConfiguration, harness.out, harness.out + 4) == .ok)
      read.append(harness.text(harness.guest.word(harness.out), harness.guest.word(harness.out + 4)))
      return 1
    }
    harness.guest.callbacks[.vmStart] = note
    harness.guest.callbacks[.configure] = note
    try harness.start()
    harness.guest.callbacks[.requestHeaders] = note
    try harness.run(.requestHeaders)
    #expect(read == ["vm!", "{\"a\":1}", "vm!"])
    #expect(harness.call(.getConfiguration, .max, harness.out) == .invalidMemoryAccess)
  }

  @Test(arguments: [HostImport.hostcall(.continueRequest), .withoutResult(.continueRequest)])
  func aRequestIsContinuedUnderEitherType(function: HostImport) throws {
    let harness = try Harness { $0.abi = .version010 }
    harness.guest.callbacks[.requestHeaders] = { _, _, _ in 1 }
    try harness.run(.requestHeaders)
    #expect(try harness.reply().flags == .pause)
    harness.guest.callbacks[.tick] = { [unowned harness] _, _, _ in
      #expect(harness.call(.setEffectiveContext, 2) == .ok)
      let (outcome, result) = harness.raw(function, [77])
      #expect(outcome == .returned)
      #expect(result == (function == .hostcall(.continueRequest) ? 0 : 77), "without a result nothing is written")
      return 0
    }
    try harness.host.tick()
    #expect(try harness.reply().flags == .continueRequest)
  }

  @Test func aResponseIsContinuedAndTheRouteCacheCleared() throws {
    let harness = try Harness { $0.abi = .version010 }
    try harness.run(.requestHeaders)
    harness.guest.callbacks[.responseHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.call(.clearRouteCache) == .ok)
      #expect(harness.call(.continueResponse) == .ok)
      return 1
    }
    try harness.run(.responseHeaders)
    #expect(try harness.replies().map(\.flags) == [[], []])
  }

  @Test func headersCallbacksOfTheFirstABIHaveTwoParameters() {
    for export in GuestExport.allCases {
      let isHeaders = export == .requestHeaders || export == .responseHeaders
      let expected = isHeaders ? 2 : export.parameters(in: .version021)
      #expect(export.parameters(in: .version010) == expected)
      #expect(export.parameters(in: .version020) == export.parameters(in: .version021))
      #expect(export.parameters(in: .version02100) == export.parameters(in: .version021))
    }
  }
}

@Suite struct CapabilityTests {
  @Test func whatIsNotAllowedIsRefusedAndWhatIsAllowedRuns() throws {
    let harness = try Harness { $0.capabilities = ["proxy_log", "proxy_on_request_headers", "fd_write", "proxy_lag"] }
    for export in [GuestExport.contextCreate, .tick, .requestBody, .log] {
      harness.guest.callbacks[export] = { _, _, _ in 0 }
    }
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      let (at, size) = harness.guest.put("hello")
      #expect(harness.call(.log, 3, at, size) == .ok)
      for _ in 0..<3 { #expect(harness.call(.getHeaderMapSize, 0, harness.out) == .internalFailure) }
      #expect(harness.wasi(.randomGet, harness.out, 4) == .notCapable)
      #expect(harness.wasi(.fdWrite, 3, 0, 0, harness.out) == .badDescriptor)
      let (outcome, _) = harness.raw(.wasi(.procExit), [3])
      #expect(outcome == .returned)
      let (silent, result) = harness.raw(.withoutResult(.continueRequest), [77])
      #expect(silent == .returned && result == 77)
      return 0
    }
    try harness.start()
    try harness.run(.requestHeaders, end: false)
    try harness.run(.requestBody, text: "x")
    try harness.run(.streamDone)
    #expect(harness.call(.setTickPeriodMilliseconds, 5) == .internalFailure)
    #expect(!harness.host.wantsTicks)
    #expect(
      harness.guest.calls == [
        "proxy_on_context_create(1, 0, 0)", "proxy_on_context_create(2, 1, 0)", "proxy_on_request_headers(2, 9, 0)",
      ])
    #expect(try harness.replies().map(\.flags) == [[], []], "a callback that is not allowed goes on")
    let warnings = harness.services.logs.filter { $0.message.contains("proxy_get_header_map_size") }
    #expect(warnings.count == 1, "it is said once")
  }

  @Test func withoutAListEverythingIsAllowed() throws {
    let harness = try Harness()
    #expect(harness.call(.getHeaderMapSize, 0, harness.out) == .ok)
  }

  @Test func namesThatNothingHasAreTold() {
    var configuration = PluginConfiguration(name: "", rootID: "", vmID: "", maximumRecord: 1)
    #expect(configuration.unknownCapabilities.isEmpty)
    configuration.capabilities = ["proxy_log", "proxy_lag", "fd_write", "proxy_on_tick", "tick"]
    #expect(configuration.unknownCapabilities == ["proxy_lag", "tick"])
  }
}
