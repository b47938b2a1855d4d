import BulkheadCore
import BulkheadSystem
import BulkheadWasmtime

extension CompilerProcess {
  /// The argument that asks for the engine's key instead of a compilation.
  public static let engineKeyArgument = "--print-engine-key"

  /// Writes the engine's key and a newline to standard output: the supervisor, which links no engine, names the entries
  /// of its cache by it.
  ///
  /// - Returns: the exit code: 0, or 70 where standard output cannot be written.
  public static func printEngineKey() -> Int32 {
    let line = Array("\(EngineSettings().cacheKey)\n".utf8)
    let written: Void? = line.withUnsafeBytes { try? RawDescriptor.writeAll(1, $0) }
    return written == nil ? ExitCode.software : ExitCode.ok
  }
}
