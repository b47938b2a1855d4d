import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Glibc

/// One run of the compiler over one module. It keeps itself until the compiler is gone.
final class Compilation {
  /// How it came out.
  enum Outcome {
    /// The module is compiled: the code, sealed, and what the compiler says of it.
    case compiled(SharedDescriptor, ReportFrame.CompiledModule)
    /// The module is not one that can be run; why, for people.
    case refused(String)
    /// The compiler itself failed; why, for people.
    case failed(String)
  }

  /// The longest that a compilation may take.
  static let timeout = Duration.seconds(120)

  /// What the engine and the compiler's own buffers may have beside its private memory and its output, in bytes.
  private static let headroom: UInt64 = 128 << 20
  /// The most memory of all kinds that a compiler may have: what it writes is counted too.
  static let memoryBound = CompilerBootstrap.defaultMemory + UInt64(ModuleCache.maximumCompiled) + headroom

  private let child: ChildProcess
  /// Goes with it, when its process is gone; nil where the supervisor makes none.
  private let controlGroup: WorkerControlGroup?
  private let loop: EventLoop
  private var output: OutputMemory?
  private var report: ReportFrame?
  private var timer: TimerQueue.Token?
  private var isLate = false
  private var brokenReport: WireError?
  private let onEnd: (Outcome) -> Void

  /// Starts a compiler.
  ///
  /// - Parameters:
  ///   - plugin: the name that its log lines carry.
  ///   - seccomp: the compiler's filter, `struct sock_filter`s.
  ///   - features: what the module may use beside the usual.
  ///   - controlGroup: bounds its memory.
  ///   - onEnd: called once, when the compiler is gone.
  /// - Throws: `SystemError` where it cannot be started.
  init(
    plugin: String, source: ModuleSource, executable: Executable, seccomp: [UInt8],
    features: [WasmFeature],
    controlGroup: WorkerControlGroup?, loop: EventLoop, log: LogWriter, onEnd: @escaping (Outcome) -> Void
  ) throws(SystemError) {
    let output = try OutputMemory(name: "compiled-module")
    var bootstrap = CompilerBootstrap(
      maximumInput: UInt64(ModuleSource.maximumBytes), maximumOutput: UInt64(ModuleCache.maximumCompiled),
      seccompProgram: seccomp)
    bootstrap.features = features
    let message = try Memfd.message(name: "compiler-bootstrap", bootstrap.encoded()).takeDescriptor()
    child = try ChildProcess(
      .init(process: "compiler", plugin: plugin), executable: executable, name: "bulkhead-compiler: \(plugin)",
      descriptors: [message.raw, source.memory.raw, output.descriptor.raw], namespaces: .all, unprivilegedID: 65_534,
      blockingReport: true, bounds: .init(frame: Limits.maximumCompilerFrame, linesPerSecond: 200), loop: loop,
      log: log,
      confine: { $0.controlGroup = controlGroup?.placement })
    self.controlGroup = controlGroup
    self.output = consume output
    self.loop = loop
    self.onEnd = onEnd
    child.onFrame = { [self] in take($0) }
    child.onBrokenReport = { [self] error in
      brokenReport = error
      child.send(signal: SIGKILL)
    }
    child.onExit = { [self] in ended($0) }
    timer = loop.after(Self.timeout) { [weak self] in
      self?.timer = nil
      self?.isLate = true
      self?.child.send(signal: SIGKILL)
    }
  }

  /// Ends it; `onEnd` still comes.
  func kill() { child.send(signal: SIGKILL) }

  private func take(_ frame: ReportFrame) {
    switch frame {
    case .compiled, .refused: if report == nil { report = frame }
    case .isolation(let layers):
      for layer in layers where !layer.holds {
        child.note(.debug, "isolation layer \(layer.layer.rawValue) is missing: \(layer.why)")
      }
    case .fault(_, let detail, _): child.note(.error, detail)
    default: break
    }
  }

  private func ended(_ status: ExitStatus) {
    loop.cancel(&timer)
    onEnd(outcome(status))
  }

  private func outcome(_ status: ExitStatus) -> Outcome {
    if isLate { return .refused("it was not compiled within \(Self.timeout.components.seconds) s") }
    if let brokenReport { return .failed("the compiler's report is broken: \(brokenReport)") }
    switch (report, status) {
    case (.refused(let detail), _): return .refused(detail)
    case (.compiled(let metadata), .exited(code: 0)):
      guard let output = output.take() else { return .failed("its output is gone") }
      do throws(SystemError) {
        return .compiled(SharedDescriptor(try output.sealed()), metadata)
      } catch {
        return .failed("\(error)")
      }
    // A limit on processor time or memory is the module's doing, so it is a refusal too.
    case (_, .signaled(signal: SIGXCPU, _)), (_, .signaled(signal: SIGKILL, _)):
      return .refused("compiling it took more processor time or memory than a compiler may have (\(status))")
    case (_, .signaled(signal: SIGSYS, _)):
      return .failed("the compiler made a system call that its seccomp filter forbids (\(status))")
    // It died of the module, in its own process, as it is meant to.
    case (_, .signaled): return .refused("the compiler died of it (\(status)): the module is malformed or hostile")
    default: return .failed("the compiler gave no result: \(status)")
    }
  }
}
