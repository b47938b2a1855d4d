import BulkheadWasmtime
import Glibc
import Testing

/// Adds its two arguments, and ends the guest where asked to.
private final class Adder: HostFunctions {
  func call(_ number: UInt32, values: UnsafeMutableRawPointer) -> HostOutcome {
    switch number {
    case 0:
      let sum = values.load(as: Int32.self) &+ values.load(fromByteOffset: 16, as: Int32.self)
      values.storeBytes(of: sum, as: Int32.self)
      return .returned
    case 1: return .exit(values.load(as: Int32.self))
    case 2:
      kill(getpid(), SIGUSR1)
      return .returned
    default: return .stop("no such function")
    }
  }

  static let functions = [
    HostFunction(module: "env", name: "add", type: FunctionType([.i32, .i32], [.i32]), number: 0),
    HostFunction(module: "env", name: "leave", type: FunctionType([.i32], []), number: 1),
    HostFunction(module: "env", name: "signal", type: FunctionType([], []), number: 2),
    HostFunction(module: "env", name: "broken", type: FunctionType([], []), number: 3),
  ]
}

private let text = """
  (module $demo
    (import "env" "add" (func $add (param i32 i32) (result i32)))
    (import "env" "leave" (func $leave (param i32)))
    (import "env" "signal" (func $signal))
    (import "env" "broken" (func $broken))
    (memory (export "memory") 1)
    (func (export "twice") (param i32) (result i32) (call $add (local.get 0) (local.get 0)))
    (func $inner unreachable)
    (func $outer (export "crash") (call $inner))
    (func (export "quit") (call $leave (i32.const 7)))
    (func (export "loop") (call $signal) (loop $again (br $again)))
    (func (export "ask_broken") (call $broken))
    (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0))))
  """

private func compile(_ text: String, _ engine: Engine) throws -> Module {
  let wasm = try ModuleCompiler.binary(fromText: text)
  let code = try ModuleCompiler.compile(wasm, engine: engine)
  return try code.withBytes { try Module.deserialize($0, engine: engine) }
}

private struct Demo {
  let engine: Engine
  let host = Adder()
  let instance: Instance

  init(_ text: String = text, memoryLimit: UInt64 = 1 << 20) throws {
    engine = try Engine()
    instance = try Instance(engine: engine, memoryLimit: memoryLimit)
    try instance.instantiate(try compile(text, engine), functions: Adder.functions, host: host)
  }

  func call(_ name: String, _ parameters: Int = 0, result: Bool = false, _ argument: UInt32 = 0) throws -> UInt32 {
    let function = try #require(try instance.function(name, parameters: parameters, hasResult: result))
    return try instance.call(function, argument)
  }
}

@Suite(.serialized) struct InstanceTests {
  @Test func aGuestCallsTheHostAndGetsItsResult() throws {
    let demo = try Demo()
    #expect(try demo.call("twice", 1, result: true, 21) == 42)
    #expect(demo.instance.memory.count == 65_536)
  }

  @Test func aTrapNamesTheGuestsFunctions() throws {
    let demo = try Demo()
    let fault = try #require(throws: GuestFault.self) { try demo.call("crash") }
    #expect(fault.kind == .trap(.unreachable))
    #expect(fault.backtrace.contains("0: inner at 0x"), "\(fault)")
    #expect(fault.backtrace.contains("1: outer at 0x"), "\(fault)")
    #expect(throws: fault) { try demo.call("twice", 1, result: true, 1) }
  }

  @Test func aBacktraceIsShortHoweverLongTheModulesNamesAre() throws {
    let name = String(repeating: "n", count: 100_000)
    let demo = try Demo(
      """
      (module (memory (export "memory") 1)
        (func $\(name) (param i32) (if (local.get 0) (then (call $\(name) (i32.sub (local.get 0) (i32.const 1)))))
          (if (i32.eqz (local.get 0)) (then unreachable)))
        (func (export "crash") (call $\(name) (i32.const 100))))
      """)
    let fault = try #require(throws: GuestFault.self) { try demo.call("crash") }
    #expect(fault.backtrace.hasPrefix("0: " + name.prefix(200) + " at 0x"))
    #expect((2_000...2_850).contains(fault.backtrace.utf8.count))
    #expect(fault.backtrace.hasSuffix(" frames more"))
  }

  @Test func procExitIsAFaultWithItsCode() throws {
    let demo = try Demo()
    let fault = try #require(throws: GuestFault.self) { try demo.call("quit") }
    #expect(fault.kind == .exit(7))
    #expect(!fault.backtrace.isEmpty)
  }

  @Test func aHostFunctionCanStopTheGuest() throws {
    let demo = try Demo()
    let fault = try #require(throws: GuestFault.self) { try demo.call("ask_broken") }
    #expect(fault.kind == .host)
    #expect(fault.message == "no such function", "\(fault)")
  }

  @Test func aSignalInterruptsAnEndlessLoop() throws {
    let demo = try Demo()
    try demo.engine.installInterrupt()
    kill(getpid(), SIGUSR1)
    #expect(try demo.call("twice", 1, result: true, 4) == 8, "a signal outside a call must interrupt nothing")
    // Again and again: a process has one guest, but this one has those of other tests too, and one of theirs that ends in
    // the wrong moment takes the running mark away.
    var event = sigevent()
    event.sigev_notify = Int32(SIGEV_SIGNAL)
    event.sigev_signo = SIGUSR1
    var timer: timer_t?
    try #require(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0)
    let period = timespec(tv_sec: 0, tv_nsec: 5_000_000)
    var times = itimerspec(it_interval: period, it_value: period)
    if let timer { timer_settime(timer, 0, &times, nil) }
    defer { if let timer { timer_delete(timer) } }
    let fault = try #require(throws: GuestFault.self) { try demo.call("loop") }
    #expect(fault.kind == .interrupted)
    #expect(!fault.backtrace.isEmpty)
  }

  @Test func memoryGrowsUpToItsBoundAndNotBeyond() throws {
    let demo = try Demo(memoryLimit: 4 * 65_536)
    #expect(try demo.call("grow", 1, result: true, 3) == 1)
    #expect(try demo.call("grow", 1, result: true, 1) == UInt32.max)
    #expect(demo.instance.memory.count == 4 * 65_536)
  }

  @Test func aModuleThatStartsOverItsBoundIsRefused() throws {
    #expect(throws: InstantiationError.self) {
      try Demo("(module (memory (export \"memory\") 100))", memoryLimit: 65_536)
    }
  }

  @Test func unknownImportsAreNamed() throws {
    let error = try #require(throws: InstantiationError.self) {
      try Demo("(module (import \"env\" \"nobody\" (func)) (memory (export \"memory\") 1))")
    }
    #expect(error.description.contains("env.nobody"))
  }

  @Test func anExportOfAnotherTypeIsRefused() throws {
    let demo = try Demo()
    #expect(throws: InstantiationError.self) {
      try demo.instance.function("twice", parameters: 2, hasResult: true)
    }
    #expect(try demo.instance.function("nothing", parameters: 2, hasResult: true) == nil)
  }

  @Test func whatIsNotWasmIsRefusedWithAReason() throws {
    let engine = try Engine()
    let error = try #require(throws: WasmtimeError.self) { _ = try ModuleCompiler.compile([1, 2, 3], engine: engine) }
    #expect(error.action == "compile the module")
    #expect(!error.reason.isEmpty)
  }
}
