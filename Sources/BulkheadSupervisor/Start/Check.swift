import BulkheadConfig
import BulkheadCore
import BulkheadSystem
import FoundationEssentials
import Glibc

/// `bulkheadd --check`: all that can be wrong before anything is started.
struct Check {
  var options: SupervisorOptions
  var log: LogWriter

  /// Reads everything, compiles every module and lists on standard output what each exports and imports. Entries of the
  /// cache are used, and made where that can be done for whoever runs Bulkhead.
  ///
  /// - Throws: `StartError` with all that is wrong: one fault keeps no other from being found.
  func run() throws(StartError) {
    let (loaded, errors) = ConfigurationLoader.inspect(path: options.configuration)
    var faults = errors.map(StartError.Fault.init)
    guard let loaded else { throw StartError(faults).advised(options) }
    for warning in loaded.warnings { CheckLine.write(.warning, warning.location, warning.text) }
    faults += Preconditions(configuration: loaded.configuration).faults
    let artifacts: [String: CompiledArtifact]
    do throws(StartError) {
      artifacts = try prepareModules(loaded)
    } catch {
      throw StartError(faults + error.faults)
    }
    guard faults.isEmpty else { throw StartError(faults) }
    StandardStream.output.write(Self.listing(loaded, artifacts))
  }

  private func prepareModules(_ loaded: LoadedConfiguration) throws(StartError) -> [String: CompiledArtifact] {
    let note = { (level: LogLevel, message: String) in
      log.write(LogLine(at: .now, level: level, process: "supervisor", message: message))
    }
    let installation = try Installation.find(libexec: options.libexec)
    let programs = try SeccompPrograms.load(for: loaded, installation, note: note)
    let loop = try Bulkhead.eventLoop()
    let query = try EngineKeyQuery(compiler: installation.compiler, loop: loop)
    do throws(SystemError) {
      try loop.run(until: { query.result != nil })
    } catch {
      throw StartError(ExitCode.software, "\(error)")
    }
    guard let engine = try query.result?.get() else { return [:] }
    let preparation: ModulePreparation
    do throws(SystemError) {
      preparation = try ModulePreparation(
        // What is wrong with the others has been found.
        loaded.plugins.filter { !$0.modulePath.isEmpty },
        .init(
          compiler: installation.compiler, seccomp: programs.compiler,
          cache: ModuleCache(forCheckOf: loaded.configuration.cacheDirectory, engine: engine),
          features: { loaded.policy(of: $0).wasmFeatures },
          memoryLimit: { loaded.policy(of: $0).memoryLimit.bytes },
          parallel: ProcessInfo.processInfo.activeProcessorCount, loop: loop, log: log, note: note))
      try loop.run(until: { preparation.isDone })
    } catch {
      throw StartError(ExitCode.software, "\(error)")
    }
    return try preparation.result()
  }

  /// What each module exports and imports.
  static func listing(_ loaded: LoadedConfiguration, _ artifacts: [String: CompiledArtifact]) -> String {
    let count = loaded.plugins.count == 1 ? "1 plugin" : "\(loaded.plugins.count) plugins"
    var text = "\(loaded.configuration.file): ok, \(count)\n"
    for plugin in loaded.plugins {
      guard let metadata = artifacts[plugin.name]?.metadata else { continue }
      text +=
        "plugin \(plugin.name): \(plugin.modulePath)\n  type: \(plugin.type.name)\n  abi: \(printable(metadata.abi))\n"
      for (title, names) in [("exports", metadata.exports), ("imports", metadata.imports)] {
        text += "  \(title): \(names.isEmpty ? "none" : names.map(printable).joined(separator: " "))\n"
      }
    }
    return text
  }

  /// Names of a module are the module's: nothing of them may speak to a terminal.
  private static func printable(_ name: String) -> String { LogText.escaped(name, quoted: false) }
}

extension StartError {
  /// The same, and where there is no configuration at all also how to come by one.
  func advised(_ options: SupervisorOptions) -> StartError {
    guard !FileSystem.exists(options.configuration), var fault = faults.first, faults.count == 1 else { return self }
    let sample = FileSystem.linkTarget("/proc/self/exe").map {
      FileSystem.absolute("\(FileSystem.directory(of: $0))/../share/doc/bulkhead/examples/bulkhead.yaml")
    }
    fault.text += ": name another file with --config"
    if let sample, FileSystem.exists(sample) { fault.text += ", or begin with a copy of \(sample)" }
    return StartError([fault])
  }
}
