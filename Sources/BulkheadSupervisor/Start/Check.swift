import BulkheadConfig
import BulkheadCore
import BulkheadSystem
import Foundation
import Glibc

/// `bulkheadd --check`: all that can be wrong before anything is started.
struct Check {
  var options: SupervisorOptions
  var log: LogWriter

  /// Reads everything, compiles every module and lists on standard output what each exports and imports. Entries of the
  /// cache are used; new ones are written only where the cache is there and writable.
  ///
  /// - Throws: `StartError` with all that is wrong.
  func run() throws(StartError) {
    if let format = options.takesOver, format != Handover.format {
      throw StartError(
        ExitCode.usage,
        "version \(SupervisorOptions.version) takes over state of format \(Handover.format), not \(format)")
    }
    let loaded = try Bulkhead.load(options)
    let installation = try Installation.find(libexec: options.libexec)
    let note = { (level: LogLevel, message: String) in
      log.write(LogLine(at: .now, level: level, process: "supervisor", message: message))
    }
    let programs = try SeccompPrograms.load(
      policyDirectories: [loaded.configuration.policiesDirectory, installation.shippedPolicies],
      policies: loaded.plugins.map { loaded.effectivePolicy(of: $0) }, note: note)
    let directory = loaded.configuration.cacheDirectory
    let loop: EventLoop
    do throws(SystemError) { loop = try EventLoop() } catch { throw StartError(ExitCode.software, "\(error)") }
    let query = try EngineKeyQuery(compiler: installation.compiler, loop: loop)
    do throws(SystemError) {
      try loop.run(until: { query.result != nil }, afterEachRound: {})
    } catch {
      throw StartError(ExitCode.software, "\(error)")
    }
    guard let engine = try query.result?.get() else { return }
    let cache = ModuleCache(
      directory: directory, engine: engine,
      isWritable: FileSystem.isWritable(directory) && (try? FileSystem.requirePrivate(directory: directory)) != nil)
    let preparation: ModulePreparation
    do throws(SystemError) {
      preparation = try ModulePreparation(
        loaded.plugins,
        .init(
          compiler: installation.compiler, seccomp: programs.compiler, cache: cache,
          features: { loaded.policy(of: $0).wasmFeatures },
          memoryLimit: { loaded.policy(of: $0).memoryLimit.bytes },
          parallel: ProcessInfo.processInfo.activeProcessorCount, loop: loop, log: log, note: note))
      try loop.run(until: { preparation.isDone }, afterEachRound: {})
    } catch {
      throw StartError(ExitCode.software, "\(error)")
    }
    let artifacts = try preparation.result()
    FileHandle.standardOutput.write(Data(Self.listing(loaded, artifacts).utf8))
  }

  /// What each module exports and imports.
  static func listing(_ loaded: LoadedConfiguration, _ artifacts: [String: CompiledArtifact]) -> String {
    var text = "\(loaded.configuration.file): ok, \(loaded.plugins.count) plugins\n"
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
  private static func printable(_ name: String) -> String { LogLine.escaped(name, quoted: false) }
}
