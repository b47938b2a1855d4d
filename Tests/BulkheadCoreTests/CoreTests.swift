import BulkheadCore
import Testing

@Suite struct CodeTests {
  @Test func everyValueComesBackFromItsNumber() {
    for value in FailStrategy.allCases { #expect(FailStrategy(code: value.code) == value) }
    for value in PluginState.allCases { #expect(PluginState(code: value.code) == value) }
    for value in ExitReason.allCases { #expect(ExitReason(code: value.code) == value) }
    for value in IsolationLayer.allCases { #expect(IsolationLayer(code: value.code) == value) }
    for value in LogLevel.allCases { #expect(LogLevel(name: value.name) == value) }
  }

  @Test func aNumberThatStandsForNothingIsRefused() {
    for code in UInt8.min...UInt8.max {
      #expect((FailStrategy(code: code) != nil) == (Int(code) < FailStrategy.allCases.count))
      #expect((PluginState(code: code) != nil) == (Int(code) < PluginState.allCases.count))
      #expect((ExitReason(code: code) != nil) == (Int(code) < ExitReason.allCases.count))
      #expect((IsolationLayer(code: code) != nil) == (Int(code) < IsolationLayer.allCases.count))
    }
    #expect(LogLevel(name: "loud") == nil)
  }

  @Test func theControlAPIsNamesAreThoseOfTheIssue() {
    #expect(PluginState.allCases.map(\.rawValue) == ["starting", "ready", "backoff", "quarantined"])
    #expect(
      ExitReason.allCases.map(\.rawValue) == [
        "trap", "deadline", "signal", "seccomp", "memory", "protocol", "configure", "requested",
      ])
    #expect(FailStrategy.allCases.map(\.rawValue) == ["FAIL_CLOSE", "FAIL_OPEN", "FAIL_RELOAD"])
  }
}

@Suite struct ByteCountTests {
  static let written: [(UInt64, String)] = [
    (0, "0 B"), (1_023, "1023 B"), (1_024, "1 KiB"), (1_536, "1.5 KiB"), (64 << 20, "64 MiB"), (3 << 30, "3 GiB"),
    ((1 << 20) + 1, "1.0 MiB"),
  ]

  @Test(arguments: written)
  func itIsWrittenInTheLargestUnitThatItReaches(_ bytes: UInt64, _ text: String) {
    #expect(ByteCount(bytes: bytes).description == text)
  }

  @Test func aCountThatDoesNotFitIsTheLargestThereIs() {
    #expect(ByteCount.mebibytes(.max).bytes == .max)
    #expect(ByteCount.kibibytes(.max).bytes == .max)
    #expect(ByteCount(bytes: .max).description.hasSuffix("GiB"))
  }
}

@Suite struct CallbackSetTests {
  @Test func exportsThatAreCallbacksAreFoundAndOthersPassedOver() {
    let set = CallbackSet(exports: [
      "memory", "proxy_on_request_headers", "proxy_on_log", "proxy_on_http_call_response", "proxy_on_nothing",
    ])
    #expect(set == [.requestHeaders, .log, .httpCallResponse])
    #expect(CallbackSet(exports: []).isEmpty)
  }

  @Test func everyKindOfCallbackHasAName() {
    #expect(Set(CallbackKind.allCases.map(\.name)).count == CallbackKind.allCases.count)
  }
}
