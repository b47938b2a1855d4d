import BulkheadControl
import BulkheadCore
import Foundation
import Testing

@Suite struct ControlJSONTests {
  static func text(_ value: some Encodable) throws -> String {
    String(decoding: try ControlJSON.encode(value), as: UTF8.self)
  }

  @Test func whatIsNotThereIsAnExplicitNull() throws {
    #expect(
      try Self.text(ViewTests.timing) == """
        {"budget":null,"failStrategy":"FAIL_OPEN","lastExit":null,"module":"/t.wasm","name":"timing","phase":"none",\
        "policy":"fail-fast","priority":-1,"restarts":0,"state":"quarantined","type":"NETWORK",\
        "vmDeaths":null,"workers":[]}
        """)
    let worker = WorkerInfo(
      plugin: "a", pid: 1, state: .ready, uptimeSeconds: 1.5, callbacks: 2, currentCallback: nil, pssBytes: nil,
      isolation: [.init(.init(layer: .seccomp, holds: true, why: "x"))])
    #expect(
      try Self.text(worker) == """
        {"callbacks":2,"currentCallback":null,"deadlines":null,\
        "isolation":[{"evidence":"word","holds":true,"layer":"seccomp","why":"x"}],"memoryBytes":null,"oldFront":null,"pid":1,\
        "plugin":"a","pssBytes":null,"role":null,"state":"ready","uptimeSeconds":1.5,\
        "virtualMachines":null,"vmDeaths":null}
        """)
    #expect(
      try Self.text(StatusResponse.Front(pid: nil, state: .backoff, restarts: 3))
        == #"{"isolation":[],"pid":null,"restarts":3,"state":"backoff"}"#)
  }

  @Test func theLastExitHasReasonDetailAndTime() throws {
    let exit = PluginInfo.LastExit(reason: .protocolViolation, detail: "a/b", at: Timestamp(milliseconds: 0))
    #expect(try Self.text(exit) == #"{"at":"1970-01-01T00:00:00.000Z","detail":"a/b","reason":"protocol"}"#)
  }

  @Test func anErrorHasCodeAndMessage() throws {
    #expect(
      try Self.text(ErrorResponse(code: .unknownPlugin, message: "m"))
        == #"{"error":{"code":"unknown_plugin","message":"m"}}"#)
  }

  static let times: [(Int64, String)] = [
    (0, "1970-01-01T00:00:00.000Z"), (-1, "1969-12-31T23:59:59.999Z"), (951_782_400_000, "2000-02-29T00:00:00.000Z"),
    (1_709_251_199_999, "2024-02-29T23:59:59.999Z"), (1_769_860_800_123, "2026-01-31T12:00:00.123Z"),
    (4_107_542_400_000, "2100-03-01T00:00:00.000Z"), (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
    (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
  ]

  @Test(arguments: times) func aTimeIsRFC3339AndComesBack(_ milliseconds: Int64, _ text: String) {
    #expect(Timestamp(milliseconds: milliseconds).description == text)
    #expect(Timestamp(text)?.milliseconds == milliseconds)
  }

  @Test func everyTimeThatADateHasComesBack() {
    for days in Int64(-1_000)...60_000 {
      let time = Timestamp(milliseconds: days * 86_400_000 + days & 0xFFFF)
      #expect(Timestamp(time.description) == time)
    }
  }

  @Test func aFractionMayBeShortOrLongOrNotThere() {
    #expect(Timestamp("1970-01-01T00:00:01Z")?.milliseconds == 1_000)
    #expect(Timestamp("1970-01-01T00:00:01.5Z")?.milliseconds == 1_500)
    #expect(Timestamp("1970-01-01T00:00:01.123456789Z")?.milliseconds == 1_123)
  }

  @Test(arguments: [
    "", "Z", "1970-01-01", "1970-01-01T00:00:00", "1970-01-01T00:00:00+01", "1970-13-01T00:00:00Z",
    "1970-01-00T00:00:00Z", "1970-01-01T24:00:00Z", "1970-01-01T00:60:00Z", "1970-01-01T00:00:00.Z",
    "1970-01-01T00:00:00.xZ", "197a-01-01T00:00:00Z", "1970-01-01T00:00:00.1234567890Z", "ääääääääääZ",
  ])
  func whatIsNoTimeIsRefused(_ text: String) {
    #expect(Timestamp(text) == nil)
  }

  @Test func timesBeyondTheCalendarDoNotTrap() {
    for milliseconds in [Int64.min, .min + 1, .max, .max - 1] {
      #expect(!Timestamp(milliseconds: milliseconds).description.isEmpty)
    }
  }

  @Test func bytesThatAreNoAnswerAreRefused() {
    for text in ["", "{", "[]", "{}", #"{"plugins":[{}]}"#, #"{"plugins":1}"#, "\u{0}"] {
      #expect(throws: DecodingError.self) { try ControlJSON.decode(PluginsResponse.self, from: text.utf8) }
    }
    #expect(throws: EncodingError.self) {
      try ControlJSON.encode(WorkerInfo.CurrentCallback(name: "a", milliseconds: .infinity))
    }
  }
}
