import BulkheadConfig
import BulkheadCore
import BulkheadSystem
import BulkheadWire

/// Brings every plugin's module to the point where workers can be given it: from the cache, else through a compiler. At
/// most so many compilers run at a time.
final class ModulePreparation {
  /// What is needed besides the manifests.
  struct Environment {
    var compiler: Executable
    var seccomp: [UInt8]
    var cache: ModuleCache
    var parallel: Int
    var loop: EventLoop
    var log: LogWriter
    /// Takes what is worth a line in the log.
    var note: (LogLevel, String) -> Void
  }

  private struct Job {
    var digest: Digest256
    var plugins: [PluginManifest]
  }

  private let environment: Environment
  private var jobs: [Job] = []
  private var running: [Digest256: Compilation] = [:]
  /// Compilations that are over: each is let go only after its last closure has returned.
  private var finished: [Compilation] = []
  private var problems: [String] = []
  private var code = ExitCode.configuration
  /// What the cache had, so that plugins of one module share one descriptor.
  private var found: [Digest256: CompiledArtifact] = [:]
  /// Of the modules that could be read, by plugin name.
  private(set) var digests: [String: Digest256] = [:]
  /// Called when nothing is under way any more, where that was not so from the beginning.
  var whenDone: () -> Void = {}
  /// By plugin name.
  private(set) var artifacts: [String: CompiledArtifact] = [:]

  /// Whether nothing is under way any more.
  var isDone: Bool { jobs.isEmpty && running.isEmpty }

  /// Looks at all modules and starts the first compilers; the loop does the rest.
  init(_ plugins: [PluginManifest], _ environment: Environment) {
    self.environment = environment
    for plugin in plugins { look(at: plugin) }
    startNext()
  }

  /// What came out, by plugin name.
  ///
  /// - Throws: `StartError` that names each plugin whose module is refused (configuration) or could not be compiled.
  func result() throws(StartError) -> [String: CompiledArtifact] {
    guard problems.isEmpty else { throw StartError(code, problems) }
    return artifacts
  }

  /// Kills what runs and forgets what waits.
  func cancel() {
    jobs = []
    for compilation in running.values { compilation.kill() }
  }

  private func look(at plugin: PluginManifest) {
    let digest: Digest256
    do throws(SystemError) {
      digest = try ModuleSource.digest(path: plugin.modulePath)
    } catch {
      return problem(plugin, "\(error)")
    }
    digests[plugin.name] = digest
    if let wanted = plugin.sha256, wanted != digest.hexadecimal {
      return problem(
        plugin, "spec.sha256 is \(wanted), but \(plugin.modulePath) has \(digest): it is not the module that was meant")
    }
    if let index = jobs.firstIndex(where: { $0.digest == digest }) {
      jobs[index].plugins.append(plugin)
    } else if let artifact = found[digest] ?? environment.cache.find(digest, problem: { environment.note(.warn, $0) }) {
      found[digest] = artifact
      artifacts[plugin.name] = artifact
    } else {
      jobs.append(Job(digest: digest, plugins: [plugin]))
    }
  }

  private func problem(_ plugin: PluginManifest, _ text: String) {
    problems.append("\(plugin.location): plugin '\(plugin.name)': \(text)")
  }

  private func startNext() {
    finished = []
    while running.count < environment.parallel, !jobs.isEmpty { start(jobs.removeFirst()) }
  }

  private func start(_ job: Job) {
    guard let plugin = job.plugins.first else { return }
    let path = plugin.modulePath
    do throws(SystemError) {
      let source = try ModuleSource(path: path)
      guard source.digest == job.digest else {
        return problem(plugin, "\(path) changed while it was looked at: start again when it is complete")
      }
      environment.note(.info, "compiling \(path) for plugin \(plugin.name)")
      running[job.digest] = try Compilation(
        plugin: plugin.name, source: source, executable: environment.compiler, seccomp: environment.seccomp,
        loop: environment.loop, log: environment.log
      ) { [unowned self] in ended(job, $0) }
    } catch {
      code = ExitCode.unavailable
      problem(plugin, "\(error)")
    }
  }

  private func ended(_ job: Job, _ outcome: Compilation.Outcome) {
    if let compilation = running.removeValue(forKey: job.digest) { finished.append(compilation) }
    switch outcome {
    case .compiled(let native, let metadata):
      do throws(SystemError) {
        let artifact = try environment.cache.keep(native, of: job.digest, metadata: metadata) {
          environment.note(.warn, $0)
        }
        for plugin in job.plugins { artifacts[plugin.name] = artifact }
      } catch {
        code = ExitCode.software
        for plugin in job.plugins { problem(plugin, "\(error)") }
      }
    case .refused(let why):
      for plugin in job.plugins { problem(plugin, "the module \(plugin.modulePath) is refused: \(why)") }
    case .failed(let why):
      code = ExitCode.software
      for plugin in job.plugins { problem(plugin, "the module \(plugin.modulePath) cannot be compiled: \(why)") }
    }
    environment.loop.after(.zero) { [weak self] in
      guard let self else { return }
      startNext()
      if isDone { whenDone() }
    }
  }
}
