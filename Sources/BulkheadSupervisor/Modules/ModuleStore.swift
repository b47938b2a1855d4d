import BulkheadConfig
import BulkheadCore
import BulkheadSystem

/// Where compiled modules come from: the engine that they are compiled for, the cache, its pruning, and what was read
/// already. It belongs to the loop's thread.
final class ModuleStore {
  private let compiler: Executable
  /// So many compilers run at the same time.
  private let parallel: Int
  private let directory: String
  private let controlGroups: ControlGroups
  private let loop: EventLoop
  private let chronicle: Chronicle
  /// What compiled modules depend on besides themselves; nil until the compiler has said it.
  private(set) var engine: EngineKey?
  private var pruner: CachePruner?
  /// Modules that are read already.
  private let memory = ModuleMemory()

  init(
    _ compiler: Executable, parallel: Int, directory: String, _ controlGroups: ControlGroups, _ loop: EventLoop,
    _ chronicle: Chronicle
  ) {
    self.compiler = compiler
    self.parallel = parallel
    self.directory = directory
    self.controlGroups = controlGroups
    self.loop = loop
    self.chronicle = chronicle
  }

  /// Asks the compiler which engine it compiles for; `know` takes what it says.
  ///
  /// - Throws: `StartError` (unavailable) where it cannot be started.
  func askForEngine() throws(StartError) -> EngineKeyQuery { try EngineKeyQuery(compiler: compiler, loop: loop) }

  func know(_ engine: EngineKey) { self.engine = engine }

  /// Begins to bring the modules of all plugins to the point where workers can be given them; nil where the engine is not
  /// known yet.
  ///
  /// - Parameter known: what plugins have already.
  /// - Throws: `SystemError` where the process has no descriptors left.
  func prepare(
    _ loaded: LoadedConfiguration, seccomp: [UInt8], known: [PluginRuntime] = []
  ) throws(SystemError) -> ModulePreparation? {
    guard let engine else { return nil }
    var artifacts: [ModuleIdentity: CompiledArtifact] = [:]
    for plugin in known {
      guard let digest = plugin.digest else { continue }
      artifacts[ModuleIdentity(digest: digest, features: plugin.policy.wasmFeatures)] = plugin.artifact
    }
    return try ModulePreparation(
      loaded.plugins,
      .init(
        compiler: compiler, seccomp: seccomp,
        cache: ModuleCache(directory: directory, engine: engine, isWritable: true), memory: memory, known: artifacts,
        features: { loaded.policy(of: $0).wasmFeatures }, memoryLimit: { loaded.policy(of: $0).memoryLimit.bytes },
        controlGroup: { [controlGroups] in
          // What bounds a compiler where something gets around its limits.
          controlGroups.make(memory: Compilation.memoryBound, cpuPercent: nil)
        },
        parallel: parallel, loop: loop, log: chronicle.log, note: { [chronicle] in chronicle.note($0, $1) }))
  }

  /// Removes from the cache what is old and not used, now and every day.
  ///
  /// - Parameter inUse: the plugins that there are, those that are on their way in or out included.
  func prune(inUse plugins: @escaping () -> [PluginRuntime]) {
    if pruner == nil, let engine {
      pruner = CachePruner(
        directory, loop: loop,
        inUse: {
          Set(
            plugins().compactMap { plugin in
              plugin.digest.map {
                CacheNames(module: $0, engine: EngineKey(engine, with: plugin.policy.wasmFeatures)).stem
              }
            })
        }, note: { [chronicle] in chronicle.note($0, $1) })
    }
    pruner?.prune()
  }
}
