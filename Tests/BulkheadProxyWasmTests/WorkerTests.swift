import BulkheadCore
import BulkheadProxyWasm
import BulkheadWasmtime
import BulkheadWire
import ProxyWasmABI
import Testing

@testable import BulkheadWorker

@Suite struct TokenBucketTests {
  @Test func aBucketGivesItsRateAndNoMore() {
    var bucket = TokenBucket(perSecond: 3)
    let start: UInt64 = 5_000_000_000
    // The fourth and fifth at once are too many; a third of a second later there is one more.
    let times: [UInt64] = [0, 0, 0, 0, 0, 300_000_000, 334_000_000, 335_000_000, 9_000_000_000]
    let taken = times.map { bucket.take(now: start + $0) }
    #expect(taken == [true, true, true, false, false, false, true, false, true])
  }

  @Test func aBucketOfNoneGivesNone() {
    var bucket = TokenBucket(perSecond: 0)
    let taken = [1, 1 << 60].map { bucket.take(now: $0) }
    #expect(taken == [false, false])
  }
}

@Suite struct TickScheduleTests {
  @Test func ticksComeEveryPeriodAndMissedOnesAreNotMadeUpFor() {
    var schedule = TickSchedule()
    #expect(!schedule.isDue(now: .max))
    schedule.set(milliseconds: 10, now: 1_000)
    #expect(schedule.next == 10_001_000)
    #expect(!schedule.isDue(now: 10_000_999))
    #expect(schedule.isDue(now: 10_001_000))
    schedule.made(now: 10_005_000)
    #expect(schedule.next == 20_001_000, "a late tick does not move those after it")
    schedule.made(now: 95_000_000)
    #expect(schedule.next == 105_000_000)
    schedule.set(milliseconds: 0, now: 95_000_000)
    #expect(schedule.next == nil)
    schedule.made(now: 96_000_000)
    #expect(schedule.next == nil)
  }
}

@Suite struct IdleSpinTests {
  @Test func aWorkerSpinsWhileCallbacksComeCloseTogether() {
    var spin = IdleSpin(maximumMicroseconds: 50)
    #expect(spin.budget == 50_000)
    for _ in 0..<20 { spin.record(gap: 10_000_000) }
    #expect(spin.budget == 0, "long gaps: spinning would only burn")
    for _ in 0..<20 { spin.record(gap: 5_000) }
    #expect(spin.budget == 50_000)
  }

  @Test func aWorkerThatMayNotSpinNeverDoes() {
    var spin = IdleSpin(maximumMicroseconds: 0)
    #expect(spin.budget == 0)
    spin.record(gap: 0)
    #expect(spin.budget == 0)
  }
}

@Suite struct WorkerReportTests {
  @Test func aLayerIsReportedOnceAndTheLastWordCounts() {
    let outer = [
      LayerReport(layer: .descriptors, holds: true, why: "a"), LayerReport(layer: .seccomp, holds: false, why: "b"),
    ]
    let own = [LayerReport(layer: .seccomp, holds: true, why: "c")]
    #expect(Worker.layers(outer, own).map(\.why) == ["a", "c"])
  }

  @Test(arguments: [(60, true), (57, true), (55, false), (1, false)] as [(UInt64, Bool)])
  func aTrapNearTheMemoryBoundIsAMatterOfMemory(mebibytes: UInt64, expected: Bool) {
    #expect(VirtualMachine.isAtBound(used: mebibytes << 20, limit: 64 << 20) == expected)
  }
}

/// The plugin host over a real guest: a small plugin in the text format.
@Suite(.serialized) struct RealGuestTests {
  private static let text = """
    (module
      (import "env" "proxy_add_header_map_value"
        (func $add (param i32 i32 i32 i32 i32) (result i32)))
      (import "env" "proxy_get_header_map_value"
        (func $get (param i32 i32 i32 i32 i32) (result i32)))
      (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
      (import "wasi_unstable" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 2)
      (global $top (mut i32) (i32.const 4096))
      (data (i32.const 16) "user-agentx-agent")
      (data (i32.const 64) "out of luck")
      (data (i32.const 80) "\\40\\00\\00\\00\\0b\\00\\00\\00")
      (func (export "proxy_abi_version_0_2_1"))
      (func (export "proxy_on_memory_allocate") (param i32) (result i32)
        (global.get $top)
        (global.set $top (i32.add (global.get $top) (local.get 0))))
      (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
        (drop (call $get (i32.const 0) (i32.const 16) (i32.const 10) (i32.const 0) (i32.const 4)))
        (drop (call $add (i32.const 0) (i32.const 26) (i32.const 7)
          (i32.load (i32.const 0)) (i32.load (i32.const 4))))
        (i32.const 0))
      (func $give_up
        (drop (call $write (i32.const 2) (i32.const 80) (i32.const 1) (i32.const 8)))
        (call $exit (i32.const 9)))
      (func (export "proxy_on_response_headers") (param i32 i32 i32) (result i32)
        (call $give_up)
        (i32.const 0)))
    """

  private final class Plugin {
    let services = FakeServices()
    let instance: Instance
    let host: PluginHost
    let bridge: HostBridge

    init(_ text: String, abi: ABIVersion = .version021) throws {
      let engine = try Engine()
      let code = try ModuleCompiler.compile(try ModuleCompiler.binary(fromText: text), engine: engine)
      let module = try code.withBytes { try Module.deserialize($0, engine: engine) }
      instance = try Instance(engine: engine, memoryLimit: 1 << 20)
      let guest = WasmGuest(instance: instance)
      var configuration = PluginConfiguration(name: "p", rootID: "", vmID: "", maximumRecord: 1 << 16)
      configuration.abi = abi
      host = PluginHost(guest: guest, services: services, configuration: configuration)
      bridge = HostBridge(host: host)
      try instance.instantiate(module, functions: HostBridge.functions, host: bridge)
      try guest.resolve(abi)
      try host.start()
    }

    func run(_ kind: CallbackKind, first: Bool, _ request: [(String, String)], _ response: [(String, String)]) throws {
      var writer = WireWriter()
      writer.callbackHead(kind, flags: first ? .firstOfStream : [], stream: 1, sequence: 1)
      writer.emptyBlob()
      writer.emptyBlob()
      for pairs in [request, response] {
        guard !pairs.isEmpty else {
          writer.emptyBlob()
          continue
        }
        let at = writer.beginBlob()
        writer.pairs(pairs)
        writer.endBlob(at)
      }
      writer.emptyBlob()
      try writer.array.withUnsafeBytes { try host.run(try CallbackRecord($0), loop: 0) }
    }
  }

  @Test func aPluginCopiesOneHeaderToAnother() throws {
    let plugin = try Plugin(Self.text)
    try plugin.run(.requestHeaders, first: true, [(":path", "/"), ("user-agent", "curl")], [])
    let reply = try Reply(try #require(plugin.services.replies.first).bytes)
    #expect(reply.edits == ["add requestHeaders x-agent=curl"])
  }

  @Test func aPluginThatExitsLeavesItsLastWordsAndItsBacktrace() throws {
    let plugin = try Plugin(Self.text)
    try plugin.run(.requestHeaders, first: true, [(":path", "/")], [])
    #expect(throws: PluginFailure.stopped) { try plugin.run(.responseHeaders, first: false, [], [(":status", "200")]) }
    plugin.host.flushOutput()
    #expect(plugin.services.logs.map(\.message) == ["out of luck"])
    let fault = try #require(plugin.instance.fault)
    #expect(fault.kind == .exit(9))
    #expect(fault.backtrace.contains("0: give_up at 0x"), "\(fault)")
  }

  @Test(arguments: [false, true]) func everyFunctionOfTheHostLinks(withoutResults: Bool) throws {
    let imports = HostImport.all.enumerated().compactMap { index, entry -> String? in
      let isWithoutResult = if case .withoutResult = entry.function { true } else { false }
      let hasTwoTypes = Hostcall.withoutResult.contains { $0.name == entry.name }
      guard !hasTwoTypes || isWithoutResult == withoutResults else { return nil }
      let signature = entry.function.signature
      let parameters = signature.parameters.map { "\($0)" }.joined(separator: " ")
      let results = signature.results.map { "\($0)" }.joined(separator: " ")
      return
        "(import \"\(entry.module)\" \"\(entry.name)\" (func $f\(index) (param \(parameters)) (result \(results))))"
    }
    _ = try Plugin("(module \(imports.joined(separator: "\n")) (memory (export \"memory\") 1))")
  }

  /// A plugin of ABI 0.1.0, whose headers callback takes two parameters; it resumes as the text of that ABI says.
  private static let oldText = """
    (module
      (import "env" "proxy_continue_request" (func $continue))
      (import "env" "proxy_clear_route_cache" (func $clear))
      (memory (export "memory") 1)
      (func (export "proxy_abi_version_0_1_0"))
      (func (export "malloc") (param i32) (result i32) (i32.const 4096))
      (func (export "proxy_on_request_headers") (param i32 i32) (result i32)
        (call $clear) (call $continue) (local.get 1)))
    """

  @Test func aPluginOfTheFirstABIRuns() throws {
    let plugin = try Plugin(Self.oldText, abi: .version010)
    try plugin.run(.requestHeaders, first: true, [(":path", "/")], [])
    #expect(try Reply(try #require(plugin.services.replies.first).bytes).flags == [], "it went on inside the callback")
  }

  @Test func aCallbackOfAnotherABIsTypeIsALoadError() {
    #expect(throws: InstantiationError.self) { try Plugin(Self.oldText, abi: .version021) }
    #expect(throws: InstantiationError.self) { try Plugin(Self.text, abi: .version010) }
  }

  @Test func aStartFunctionMayCallTheHostBeforeThereIsAMemory() throws {
    _ = try Plugin(
      """
      (module (import "env" "proxy_set_tick_period_milliseconds" (func $tick (param i32) (result i32)))
        (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func $start (drop (call $tick (i32.const 5)))
          (if (i32.ne (call $log (i32.const 2) (i32.const 0) (i32.const 1)) (i32.const 6)) (then unreachable)))
        (start $start))
      """)
  }
}
