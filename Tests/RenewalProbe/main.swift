// Seals itself as a worker does, then makes and drops the VM of its module many times over, for the tests of
// BulkheadSandboxTests to look at from outside.

import BulkheadSandbox
import BulkheadSystem
import BulkheadWasmtime
import CBulkheadSys
import Glibc

enum Renewals {
  private static let rounds = 20_000
  /// Caches and free lists are filled by then.
  private static let settled = 1_000
  private static let memoryLimit: UInt64 = 16 << 20
  private static let program: Int32 = 4
  private static let loadingProgram: Int32 = 11

  /// Answers each call of the module with 0.
  private final class Host: HostFunctions {
    func call(_ number: UInt32, values: UnsafeMutableRawPointer) -> HostOutcome {
      values.storeBytes(of: 0, as: Int32.self)
      return .returned
    }
  }

  static func run() throws -> Never {
    let programs = [
      try RawDescriptor.readFile(program, atMost: 1 << 16), try RawDescriptor.readFile(loadingProgram, atMost: 1 << 16),
    ]
    var sandbox = try WorkerSandbox.enter(.init(guestMemory: memoryLimit))
    guard WorkerSandbox.beginLoading(seccomp: programs[1]).holds else { fail("the wider filter cannot be loaded") }
    let engine = try Engine()
    try engine.installInterrupt()
    let module = try Module.deserialize(path: sandbox.modulePath, engine: engine)
    try engine.prepareThread()
    guard sandbox.finish(keeping: [2, 3], seccomp: programs[0]) else { fail("the filter cannot be loaded") }

    let host = Host()
    let functions = [
      HostFunction(module: "env", name: "proxy_log", type: FunctionType([.i32, .i32, .i32], [.i32]), number: 0)
    ]
    var traps = 0
    for round in 1...rounds {
      let instance = try Instance(engine: engine, memoryLimit: memoryLimit)
      try instance.instantiate(module, functions: functions, host: host)
      guard instance.memory.first == 7 else { fail("round \(round): the memory is not the module's own") }
      instance.memory[0] = 8
      if let function = try instance.function("crash", parameters: 0, hasResult: false) {
        do throws(GuestFault) { _ = try instance.call(function) } catch { traps += 1 }
      }
      if round == settled || round == rounds {
        say("round \(round)")
        rest()
      }
    }
    say("traps \(traps) of \(rounds)")
    _exit(0)
  }

  static func say(_ line: String) {
    var text = line + "\n"
    text.withUTF8 { _ = bh_write(3, $0.baseAddress, $0.count) }
  }

  static func fail(_ reason: String) -> Never {
    say("failed \(reason)")
    _exit(70)
  }

  /// Half a second for who looks from outside, by a call that the filter allows.
  private static func rest() {
    var word: UInt32 = 0
    var time = timespec(tv_sec: 0, tv_nsec: 500_000_000)
    #if arch(x86_64)
      let futex: Int64 = 202
    #else
      let futex: Int64 = 98
    #endif
    withUnsafeMutablePointer(to: &word) { word in
      withUnsafeMutablePointer(to: &time) { time in
        _ = bh_raw_syscall(futex, Int64(Int(bitPattern: word)), 0, 0, Int64(Int(bitPattern: time)), 0, 0)
      }
    }
  }
}

do { try Renewals.run() } catch { Renewals.fail("\(error)") }
