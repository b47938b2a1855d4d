import BulkheadConfig
import BulkheadCore
import BulkheadSystem
import BulkheadWire

/// Brings every plugin's module to the point where workers can be given it: from the cache, else through a compiler. At
/// most so many compilers run at a time. Modules and cache are read and written aside, one file at a time, so that the
/// loop goes on. For as long as something is under way it keeps itself.
final class ModulePreparation {
  /// What is needed besides the manifests.
  struct Environment {
    var compiler: Executable
    var seccomp: [UInt8]
    var cache: ModuleCache
    /// What need not be read again.
    var memory = ModuleMemory()
    /// Modules that workers run already: what they were given is as good as the cache.
    var known: [ModuleIdentity: CompiledArtifact] = [:]
    /// The features that a plugin's policy turns on.
    var features: (PluginManifest) -> [WasmFeature] = { _ in [] }
    /// The most linear memory that a plugin's policy allows it, in bytes.
    var memoryLimit: (PluginManifest) -> UInt64 = { _ in .max }
    /// Makes a compiler's control group; nil where there is to be none.
    var controlGroup: () -> WorkerControlGroup? = { nil }
    var parallel: Int
    var loop: EventLoop
    var log: LogWriter
    /// Takes what is worth a line in the log.
    var note: (LogLevel, String) -> Void
  }

  private struct Job {
    var module: ModuleIdentity
    var plugins: [PluginManifest]
  }

  /// What came of looking at one module.
  private struct Look: Sendable {
    var result: Result<Digest256, SystemError>
    var entry: ModuleMemory.Entry?
    /// Nil where it is to be compiled, and where it was known beforehand.
    var artifact: CompiledArtifact?
    var problems: [String] = []
  }

  private let environment: Environment
  private let files: BackgroundWork
  private var unlooked: [PluginManifest]
  /// Sources that are being read for a compiler.
  private var reading = 0
  private var isCancelled = false
  private var jobs: [Job] = []
  private var running: [ModuleIdentity: Compilation] = [:]
  private var problems: [StartError.Fault] = []
  /// What the cache had, so that plugins of one module share one descriptor.
  private var found: [ModuleIdentity: CompiledArtifact] = [:]
  /// Of the modules that could be read, by plugin name.
  private(set) var digests: [String: Digest256] = [:]
  /// Called where a file cannot be read or written in time, as on a file system that is not reached: with why.
  var whenLate: (String) -> Void = { _ in }
  /// Called when nothing is under way any more, where that was not so from the beginning.
  var whenDone: () -> Void = {}
  /// By plugin name.
  private(set) var artifacts: [String: CompiledArtifact] = [:]

  /// Whether nothing is under way any more.
  var isDone: Bool { files.isIdle && unlooked.isEmpty && jobs.isEmpty && running.isEmpty }

  /// Begins to look at all modules; the loop does the rest.
  ///
  /// - Throws: `SystemError` where the process has no descriptors left.
  init(_ plugins: [PluginManifest], _ environment: Environment) throws(SystemError) {
    self.environment = environment
    files = try BackgroundWork(environment.loop)
    found = environment.known
    environment.memory.keep(Set(plugins.map(\.modulePath)))
    unlooked = plugins
    files.whenLate = { [weak self] time in
      guard let self else { return }
      let what = unlooked.first.map { "plugin '\($0.name)': \($0.modulePath)" } ?? "a module or the cache"
      environment.note(.error, "\(what) is not read or written after \(time): is its file system reached?")
      whenLate("\(what) is not read or written after \(time)")
    }
    lookAtNext()
  }

  /// What came out, by plugin name.
  ///
  /// - Throws: `StartError` that names each plugin whose module is refused (configuration) or could not be compiled.
  func result() throws(StartError) -> [String: CompiledArtifact] {
    guard problems.isEmpty else { throw StartError(problems) }
    return artifacts
  }

  /// Kills what runs and forgets what waits.
  func cancel() {
    isCancelled = true
    unlooked = []
    jobs = []
    files.cancel { [self] in settle() }
    for compilation in running.values { compilation.kill() }
  }

  private func lookAtNext() {
    // All are known before the first compiler starts: plugins of one module share it.
    guard let plugin = unlooked.first else { return settle() }
    let path = plugin.modulePath
    let (cache, entry) = (environment.cache, environment.memory[path])
    let known = Set(found.keys).union(jobs.map(\.module))
    let features = environment.features(plugin)
    files.run {
      Self.look(at: path, entry, cache, known, features)
    } then: { [self] look in
      unlooked.removeFirst()
      looked(at: plugin, look)
      lookAtNext()
    }
  }

  private static func look(
    at path: String, _ entry: ModuleMemory.Entry?, _ cache: ModuleCache, _ known: Set<ModuleIdentity>,
    _ features: [WasmFeature]
  ) -> Look {
    do throws(SystemError) {
      let (digest, entry) = try ModuleSource.look(at: path, known: entry)
      var look = Look(result: .success(digest), entry: entry)
      if !known.contains(ModuleIdentity(digest: digest, features: features)) {
        look.artifact = cache.with(features).find(digest) { look.problems.append($0) }
      }
      return look
    } catch {
      return Look(result: .failure(error))
    }
  }

  private func looked(at plugin: PluginManifest, _ look: Look) {
    let digest: Digest256
    do throws(SystemError) { digest = try look.result.get() } catch {
      return problem(plugin, "\(error)", ExitCode.file(error))
    }
    environment.memory[plugin.modulePath] = look.entry
    digests[plugin.name] = digest
    if let wanted = plugin.sha256, wanted != digest.hexadecimal {
      return problem(
        plugin, "spec.sha256 is \(wanted), but \(plugin.modulePath) has \(digest): it is not the module that was meant")
    }
    let module = ModuleIdentity(digest: digest, features: environment.features(plugin))
    if let index = jobs.firstIndex(where: { $0.module == module }) {
      jobs[index].plugins.append(plugin)
    } else if let artifact = found[module] ?? look.artifact {
      found[module] = artifact
      take(artifact, for: plugin)
    } else {
      for problem in look.problems { environment.note(.warn, problem) }
      jobs.append(Job(module: module, plugins: [plugin]))
    }
  }

  /// Refuses what no worker of the plugin could ever start.
  private func take(_ artifact: CompiledArtifact, for plugin: PluginManifest) {
    let (wanted, limit) = (artifact.metadata.minimumMemory, environment.memoryLimit(plugin))
    guard wanted <= limit else {
      return problem(
        plugin,
        "the module \(plugin.modulePath) begins with a memory of \(ByteCount(bytes: wanted)), and its policy allows it "
          + "\(ByteCount(bytes: limit)): raise memoryLimit, or build it with less")
    }
    artifacts[plugin.name] = artifact
  }

  private func problem(_ plugin: PluginManifest, _ text: String, _ code: Int32 = ExitCode.configuration) {
    problems.append(.init(code, plugin.moduleLocation ?? plugin.location, "plugin '\(plugin.name)': \(text)"))
  }

  /// Goes on, once what is happening now is over.
  private func settle() {
    environment.loop.post { [self] in
      while running.count + reading < environment.parallel, !jobs.isEmpty { start(jobs.removeFirst()) }
      guard isDone else { return }
      let done = whenDone
      whenDone = {}
      done()
    }
  }

  private func start(_ job: Job) {
    guard let path = job.plugins.first?.modulePath else { return }
    reading += 1
    files.run {
      Result { () throws(SystemError) in try ModuleSource(path: path) }
    } then: { [self] source in
      reading -= 1
      compile(job, source)
      settle()
    }
  }

  private func compile(_ job: Job, _ source: Result<ModuleSource, SystemError>) {
    guard let plugin = job.plugins.first else { return }
    let path = plugin.modulePath
    do throws(SystemError) {
      let source = try source.get()
      guard source.digest == job.module.digest else {
        return problem(plugin, "\(path) changed while it was looked at: start again when it is complete")
      }
      environment.note(.info, "compiling \(path) for plugin \(plugin.name)")
      running[job.module] = try Compilation(
        plugin: plugin.name, source: source, executable: environment.compiler, seccomp: environment.seccomp,
        features: job.module.features,
        controlGroup: environment.controlGroup(), loop: environment.loop, log: environment.log
      ) { [self] in ended(job, $0) }
    } catch {
      problem(plugin, "\(error)", ExitCode.unavailable)
    }
  }

  private func ended(_ job: Job, _ outcome: Compilation.Outcome) {
    running.removeValue(forKey: job.module)
    switch outcome {
    case .compiled(let native, let metadata): if !isCancelled { keep(native, metadata, job) }
    case .refused(let why):
      for plugin in job.plugins { problem(plugin, "the module \(plugin.modulePath) is refused: \(why)") }
    case .failed(let why):
      for plugin in job.plugins {
        problem(plugin, "the module \(plugin.modulePath) cannot be compiled: \(why)", ExitCode.software)
      }
    }
    settle()
  }

  private func keep(_ native: SharedDescriptor, _ metadata: ReportFrame.CompiledModule, _ job: Job) {
    let cache = environment.cache.with(job.module.features)
    files.run { () -> (Result<CompiledArtifact, SystemError>, [String]) in
      var problems: [String] = []
      let result = Result { () throws(SystemError) in
        try cache.keep(native, of: job.module.digest, metadata: metadata) { problems.append($0) }
      }
      return (result, problems)
    } then: { [self] result, problems in
      for problem in problems { environment.note(.warn, problem) }
      do throws(SystemError) {
        let artifact = try result.get()
        for plugin in job.plugins { take(artifact, for: plugin) }
      } catch {
        for plugin in job.plugins { problem(plugin, "\(error)", ExitCode.software) }
      }
      settle()
    }
  }
}
