import BulkheadControl
import BulkheadCore
import Testing

@testable import BulkheadCLI

@Suite struct CrashesViewTests {
  private static func response(withExample: Bool) -> CrashesResponse {
    let now = ViewTests.now.milliseconds
    var crash = CrashesResponse.Crash(
      plugin: "geo", count: 812, first: Timestamp(milliseconds: now - 3_600_000),
      last: Timestamp(milliseconds: now - 12_000), reason: .trap, callback: "proxy_on_request_headers",
      frames: ["fault\u{1B}[2J", "main"])
    if withExample { crash.example = .init(pid: 12, detail: "unreachable", crash: EventViewTests.crash) }
    let other = CrashesResponse.Crash(
      plugin: "timing", count: 1, first: Timestamp(milliseconds: now), last: Timestamp(milliseconds: now),
      reason: .signal, callback: nil, frames: [])
    return CrashesResponse(
      since: ViewTests.now, crashes: withExample ? [crash] : [crash, other], leftOut: withExample ? 0 : 3,
      evicted: withExample ? 4 : 0)
  }

  @Test func oneKindOfCrashIsOneLine() throws {
    #expect(
      try ViewTests.table.show(Self.response(withExample: false)) == """
        PLUGIN  COUNT     FIRST     LAST  REASON  CALLBACK                  TOP FRAME
        geo       812  1h0m ago  12s ago  trap    proxy_on_request_headers  fault [2J
        timing      1    0s ago   0s ago  signal  -                         -

        3 kinds more: ask for one plugin
        """)
    #expect(
      try ViewTests.table.show(CrashesResponse(since: ViewTests.now, crashes: []))
        == "no crashes since 2026-01-31T12:00:00.000Z")
  }

  @Test func ofOnePluginAnExampleStandsBelow() throws {
    #expect(
      try ViewTests.table.show(Self.response(withExample: true)) == """
        PLUGIN  COUNT     FIRST     LAST  REASON  CALLBACK                  TOP FRAME
        geo       812  1h0m ago  12s ago  trap    proxy_on_request_headers  fault [2J

        4 kinds are not kept any more

        812 times trap, as at 2026-01-31T11:59:48.000Z, pid 12: unreachable
            in proxy_on_request_headers for 1.3 ms, stream 7, request abc
            exited with code 70, up 1m5s, 3 callbacks run, guest memory 128 KiB
              0: fault [2J
              1: main
        """)
  }

  @Test func asJSONItIsTheAnswer() throws {
    let view = View(now: ViewTests.now, coloured: false, format: .json)
    for response in [Self.response(withExample: true), Self.response(withExample: false)] {
      #expect(try ControlJSON.decode(CrashesResponse.self, from: Array(view.show(response).utf8)) == response)
    }
  }
}
