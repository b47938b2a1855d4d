import BulkheadProxyWasm
import ProxyWasmABI
import Testing

/// The support functions that modules of Emscripten import.
@Suite struct EmscriptenTests {
  @Test(arguments: [(1, 1, 1), (1, 2, 0), (.max, .max, 1)] as [(UInt64, UInt64, UInt32)])
  func threadsAreEqualWhereTheirNumbersAre(one: UInt64, other: UInt64, expected: UInt32) throws {
    let (outcome, result) = try Harness().raw(.emscripten(.pthreadEqual), [one, other])
    #expect(outcome == .returned && result == expected)
  }

  @Test func theSecondHalfOfALongResultIsKept() throws {
    let harness = try Harness()
    #expect(harness.raw(.emscripten(.setTempRet0), [7]).0 == .returned)
    #expect(harness.raw(.emscripten(.getTempRet0), []).1 == 7)
  }

  @Test(arguments: [EmscriptenCall.memcpyBig, .memcpyJS, .memcpyJSUnderscored])
  func bytesAreCopiedInsideTheGuestAlone(call: EmscriptenCall) throws {
    let harness = try Harness()
    let (from, size) = harness.guest.put("hello")
    let to = harness.guest.allocate(8)
    #expect(harness.raw(.emscripten(call), [UInt64(to), UInt64(from), UInt64(size)]).0 == .returned)
    #expect(harness.text(to, size) == "hello")
    for bad in [
      [UInt64(to), UInt64(UInt32.max), 5], [UInt64(UInt32.max), UInt64(from), 5], [0, 0, UInt64(UInt32.max)],
    ] {
      #expect(harness.raw(.emscripten(call), bad).0 == .exit(134))
    }
  }

  @Test func whoAbortsEnds() throws {
    let harness = try Harness()
    #expect(harness.raw(.emscripten(.abort), []).0 == .exit(134))
    #expect(harness.raw(.emscripten(.abortJS), []).0 == .exit(134))
    let (what, _) = harness.guest.put("x > 0\0")
    let (file, _) = harness.guest.put("a.cc\0")
    #expect(harness.raw(.emscripten(.assertFail), [UInt64(what), UInt64(file), 12, 0]).0 == .exit(134))
    #expect(harness.services.logs.last?.message == "an assertion of the plugin failed: x > 0 at a.cc:12")
    #expect(harness.raw(.emscripten(.assertFail), [UInt64(UInt32.max), 0, 0, 0]).0 == .exit(134))
  }

  @Test func memoryGrowsByItsInstructionAlone() throws {
    let harness = try Harness()
    #expect(harness.raw(.emscripten(.resizeHeap), [1 << 20]).1 == 0)
    #expect(harness.raw(.emscripten(.heapMaximum), []).1 == .max)
    #expect(harness.raw(.emscripten(.threadAtExit), [1, 2, 3]).1 == 0)
    #expect(harness.raw(.emscripten(.now), []).0 == .returned)
  }
}
