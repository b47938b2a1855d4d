import BulkheadCore
import BulkheadSystem
import Glibc

/// Asks the compiler which engine it compiles for. The supervisor does not link the engine, and has to know before it can
/// look into the cache.
enum EngineKeyQuery {
  static let argument = "--print-engine-key"
  /// The longest that the answer may take, in milliseconds.
  private static let timeout: Int32 = 10_000

  /// - Throws: `StartError` (unavailable) where the compiler cannot be started or gives no key.
  static func run(compiler: Executable) throws(StartError) -> EngineKey {
    do throws(SystemError) {
      let null = try Descriptor.open("/dev/null", .readWrite)
      let pipe = try Pipe(nonBlockingRead: true)
      var request = SpawnRequest(
        executable: compiler.path, arguments: ["bulkhead-compiler", argument],
        descriptors: [null.raw, pipe.write.raw, STDERR_FILENO])
      request.image = compiler.image
      let process = try ProcessSpawner.spawn(request)
      let output = read(pipe.takeRead())
      if output == nil { try? process.send(signal: SIGKILL) }
      let status = try process.wait()
      guard let output, status == .exited(code: 0) else {
        throw SystemError(
          operation: "ask for the engine of", subject: compiler.path, code: ETIMEDOUT,
          advice: "no answer, \(status); is libwasmtime.so installed with it?")
      }
      let text = String(decoding: output, as: UTF8.self)
      guard let line = text.split(separator: "\n").first, let key = EngineKey(line) else {
        throw SystemError(
          operation: "ask for the engine of", subject: compiler.path, code: EINVAL,
          advice: "its answer is no name; the binaries must be of one version")
      }
      return key
    } catch {
      throw StartError(ExitCode.unavailable, "\(error)")
    }
  }

  /// All that comes, up to 4 KiB; nil where the end does not come in time.
  private static func read(_ pipe: consuming Descriptor) -> [UInt8]? {
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4_096)
    while bytes.count < 4_096 {
      var request = pollfd(fd: pipe.raw, events: Int16(POLLIN), revents: 0)
      guard poll(&request, 1, timeout) == 1 else { return nil }
      let count = Glibc.read(pipe.raw, &chunk, chunk.count)
      if count < 0, errno == EAGAIN || errno == EINTR { continue }
      guard count > 0 else { return bytes }
      bytes.append(contentsOf: chunk.prefix(count))
    }
    return bytes
  }
}
