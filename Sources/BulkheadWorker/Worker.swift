import BulkheadCore
import BulkheadProxyWasm
import BulkheadRing
import BulkheadSandbox
import BulkheadSystem
import BulkheadWasmtime
import BulkheadWire
import Glibc
import ProxyWasmABI

/// The role of `bulkhead-worker`: one plugin's VM in a process that gives up all it does not need before it serves.
///
/// Start: bootstrap, sandbox, channel, a first seccomp filter, the module, the rest of the sandbox with the final filter;
/// only then the plugin's first instruction: instance, `proxy_on_vm_start`, `proxy_on_configure`, `ready`. Then it serves
/// until it is killed.
public enum Worker {
  /// The most of a bootstrap that is read: the plugin's configuration is the large part of it.
  private static let maximumBootstrap = 64 << 20

  /// Runs the worker; never returns.
  public static func run() -> Never {
    // Whoever stops the service by signalling all of it means the supervisor, which lets the front finish first.
    for number in [SIGTERM, SIGINT, SIGHUP] { signal(number, SIG_IGN) }
    // A doorbell whose front is gone rings for nobody; what becomes of the worker is the supervisor's matter.
    signal(SIGPIPE, SIG_IGN)
    let bootstrap: WorkerBootstrap
    do {
      let bytes = try RawDescriptor.readFile(ChildDescriptor.bootstrap, atMost: maximumBootstrap)
      bootstrap = try bytes.withUnsafeBytes { try WorkerBootstrap($0) }
    } catch {
      let reporter = Reporter(linesPerSecond: 1)
      reporter.send(.fault(reason: .configure, detail: "the bootstrap cannot be read: \(error)", backtrace: ""))
      _exit(ExitCode.software)
    }
    RawDescriptor.close(ChildDescriptor.bootstrap)
    // The arguments name the plugin too, with room for all of it.
    ProcessName.set("bh:\(bootstrap.plugin)")
    let reporter = Reporter(linesPerSecond: bootstrap.logLinesPerSecond)
    // Before the sandbox, in which no file can be opened.
    if bootstrap.mayCallForeign, let why = Signature.loadLibrary() {
      reporter.log(.warn, "the foreign functions sign and verify_signature will fail: \(why)")
    }

    var configuration = WorkerSandbox.Configuration(
      guestMemory: max(bootstrap.guestMemory, bootstrap.memoryLimit))
    configuration.module = ChildDescriptor.Worker.module
    configuration.unprivilegedID = bootstrap.unprivilegedID
    let sandbox: WorkerSandbox
    do throws(WorkerSandbox.Refusal) {
      sandbox = try WorkerSandbox.enter(configuration)
    } catch {
      reporter.send(.fault(reason: .configure, detail: "the sandbox: \(error)", backtrace: ""))
      _exit(error.exitCode)
    }
    reporter.send(.isolation(Self.layers(bootstrap.layers, sandbox.layers)))
    // The filters come later and are no matter of policy; the supervisor has looked at those that it made.
    if let missing = sandbox.layers.first(where: { !$0.holds && bootstrap.requiredLayers.contains($0.layer) }) {
      reporter.send(
        .fault(
          reason: .configure,
          detail: "the policy requires the layer \(missing.layer.rawValue), which does not hold: \(missing.why)",
          backtrace: ""))
      _exit(ExitCode.unavailable)
    }

    do throws(SystemError) {
      try sandbox.checkModule()
    } catch {
      reporter.send(.fault(reason: .configure, detail: "the module: \(error)", backtrace: ""))
      _exit(ExitCode.unavailable)
    }
    do throws(WorkerStop) {
      let loaded = try LoadedModule(bootstrap, sandbox)
      // Never given back: tearing the engine down at the end would take system calls that the filter kills for.
      _ = Unmanaged.passRetained(loaded)
      try loaded.seal(sandbox, bootstrap, reporter)
      let pool = try VMPool(try LoadedPlugin(bootstrap, reporter: reporter, loaded: loaded), bootstrap)
      _ = Unmanaged.passRetained(pool)
      reporter.send(.ready)
      try ServeLoop(pool, bootstrap).run()
    } catch {
      // The front does not wait for the report, nor for the kernel to take the guest's memory apart.
      RawDescriptor.close(ChildDescriptor.Worker.liveness)
      // Its end keeps a CPU busy in the kernel for about a millisecond. Where another worker takes over, that goes first.
      if bootstrap.endPauseMicroseconds > 0 {
        WorkerChannel.pause(nanoseconds: UInt64(bootstrap.endPauseMicroseconds) &* 1_000)
      }
      reporter.send(.fault(reason: error.reason, detail: error.detail, backtrace: error.backtrace))
      // Not exit: what the runtime would do at its end, the filter forbids.
      _exit(ExitCode.software)
    }
  }

  /// The supervisor's layers and the worker's own, one report each: what was done last counts.
  static func layers(_ outer: [LayerReport], _ own: [LayerReport]) -> [LayerReport] {
    outer.filter { report in !own.contains { $0.layer == report.layer } } + own
  }
}

/// Why a worker ends, as it reports it.
struct WorkerStop: Error, Equatable {
  var reason: ExitReason
  var detail: String
  var backtrace = ""
  /// It is the guest's end and none of the process's: a fresh VM may take its place.
  var endsVMOnly = false
}
