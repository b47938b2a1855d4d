import BulkheadCore
import BulkheadRing
import BulkheadSandbox
import BulkheadSystem
import BulkheadWire
import Glibc

/// The start of the hostile worker: what an honest one does up to `ready`, but for the module.
enum Hostile {
  static func run() -> Never {
    for number in [SIGTERM, SIGINT, SIGHUP, SIGPIPE] { signal(number, SIG_IGN) }
    let bootstrap: WorkerBootstrap
    do {
      let bytes = try RawDescriptor.readFile(ChildDescriptor.bootstrap, atMost: 64 << 20)
      bootstrap = try bytes.withUnsafeBytes { try WorkerBootstrap($0) }
    } catch {
      fail("the bootstrap: \(error)")
    }
    let configuration = String(decoding: bootstrap.pluginConfiguration, as: UTF8.self)
    guard let name = value(of: "act", in: configuration) else { becomeHonest() }
    guard let act = Act.all[name] else { fail("there is no act \(name)") }
    // An interrupt does not stop it: only SIGKILL does.
    signal(SIGUSR1, SIG_IGN)
    RawDescriptor.close(ChildDescriptor.bootstrap)

    if name == "steal-rings" { stealRings() }
    let channel: RawChannel
    do {
      var sandbox = WorkerSandbox.Configuration(guestMemory: bootstrap.memoryLimit)
      sandbox.module = nil
      sandbox.unprivilegedID = bootstrap.unprivilegedID
      var entered = try WorkerSandbox.enter(sandbox)
      send(.isolation(layers(bootstrap.layers, entered.layers)))
      channel = try RawChannel(bootstrap)
      let doorbells = (0..<Int32(clamping: bootstrap.eventLoops)).map { ChildDescriptor.Worker.firstDoorbell + $0 }
      if name == "unsealed" {
        // It lies: no filter is loaded.
        let claim = LayerReport(layer: .seccomp, holds: true, why: "60 instructions")
        send(.isolation(layers(bootstrap.layers, entered.layers + [claim])))
        send(.ready)
        act(channel)
      }
      guard WorkerSandbox.beginLoading(seccomp: bootstrap.loadingProgram).holds else { fail("no first filter") }
      let isSealed = entered.finish(
        keeping: [ChildDescriptor.standardError, ChildDescriptor.report, ChildDescriptor.Worker.liveness] + doorbells,
        seccomp: bootstrap.seccompProgram)
      guard isSealed else { fail("no seccomp filter") }
      send(.isolation(layers(bootstrap.layers, entered.layers)))
    } catch {
      fail("\(error)")
    }
    send(.ready)
    act(channel)
  }

  private static let thefts = 40

  /// What a guest that has escaped could try while its worker may make any system call: to take back what it rings, and to
  /// have the front wait for it.
  private static func stealRings() {
    let bell = ChildDescriptor.Worker.firstDoorbell
    let flags = fcntl(bell, F_GETFL)
    _ = fcntl(bell, F_SETFL, flags & ~O_NONBLOCK)
    var stolen = 0
    for _ in 0..<thefts {
      var ring: UInt64 = 1
      _ = Glibc.write(bell, &ring, 8)
      if Glibc.read(bell, &ring, 8) == 8 { stolen += 1 }
      usleep(20_000)
    }
    _ = fcntl(bell, F_SETFL, flags)
    send(.log(level: .info, request: "", message: "took back \(stolen) of \(thefts) rings"))
  }

  private static func layers(_ outer: [LayerReport], _ own: [LayerReport]) -> [LayerReport] {
    outer.filter { report in !own.contains { $0.layer == report.layer } } + own
  }

  /// The string behind `"key":` in compact JSON.
  private static func value(of key: String, in json: String) -> String? {
    let parts = json.split(separator: "\"", omittingEmptySubsequences: false)
    guard let at = parts.firstIndex(of: Substring(key)), at + 2 < parts.count, parts[at + 1] == ":" else { return nil }
    return String(parts[at + 2])
  }

  /// The honest worker stands beside this executable.
  private static func becomeHonest() -> Never {
    var path = [CChar](repeating: 0, count: 4_096)
    let length = readlink("/proc/self/exe", &path, path.count - 1)
    guard length > 0 else { fail("/proc/self/exe cannot be read") }
    let own = String(decoding: path.prefix(length).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let directory = own.split(separator: "/").dropLast().joined(separator: "/")
    _ = "/\(directory)/bulkhead-worker".withCString { executable in
      "bulkhead-worker".withCString { name in
        var arguments: [UnsafeMutablePointer<CChar>?] = [UnsafeMutablePointer(mutating: name), nil]
        var environment: [UnsafeMutablePointer<CChar>?] = [nil]
        return execve(executable, &arguments, &environment)
      }
    }
    fail("the honest worker cannot be started: errno \(errno)")
  }

  static func send(_ frame: ReportFrame) { write(frame.encoded(), to: ChildDescriptor.report) }

  @discardableResult
  static func write(_ bytes: [UInt8], to descriptor: Int32) -> Int {
    bytes.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
  }

  static func fail(_ why: String) -> Never {
    send(.fault(reason: .configure, detail: "hostile worker: \(why)", backtrace: ""))
    _exit(70)
  }
}
