import BulkheadCore
import BulkheadSystem
import Glibc

/// Asks the compiler which engine it compiles for. The supervisor does not link the engine, and has to know before it can
/// look into the cache. It belongs to the loop's thread.
final class EngineKeyQuery {
  static let argument = "--print-engine-key"
  /// The longest that the answer may take.
  private static let timeout = Duration.seconds(10)
  /// Fits into the pipe, so that nobody need read before the end.
  private static let maximumAnswer = 4_096

  private let compiler: Executable
  private let loop: EventLoop
  private let process: SpawnedProcess
  private let output: SharedDescriptor
  private var watch: Poller.Token?
  private var timer: TimerQueue.Token?
  /// Nil until it is over.
  private(set) var result: Result<EngineKey, StartError>?

  /// Starts the compiler; the loop does the rest.
  ///
  /// - Throws: `StartError` (unavailable) where it cannot be started.
  init(compiler: Executable, loop: EventLoop) throws(StartError) {
    self.compiler = compiler
    self.loop = loop
    do throws(SystemError) {
      let null = try Descriptor.open("/dev/null", .readWrite)
      let pipe = try Pipe(nonBlockingRead: true)
      var request = SpawnRequest(
        executable: compiler.path, arguments: ["bulkhead-compiler", Self.argument],
        descriptors: [null.raw, pipe.write.raw, STDERR_FILENO])
      request.image = compiler.image
      process = try ProcessSpawner.spawn(request)
      output = SharedDescriptor(pipe.takeRead())
    } catch {
      throw StartError(ExitCode.unavailable, "\(error)")
    }
    do throws(SystemError) {
      watch = try loop.poller.add(process.pidfd.raw) { [weak self] _ in self?.ended() }
    } catch {
      try? process.send(signal: SIGKILL)
      throw StartError(ExitCode.unavailable, "\(error)")
    }
    timer = loop.after(Self.timeout) { [weak self] in
      guard let self else { return }
      timer = nil
      try? process.send(signal: SIGKILL)
    }
  }

  deinit { end() }

  private func end() {
    loop.cancel(&timer)
    if let watch { loop.poller.remove(watch) }
    watch = nil
  }

  private func ended() {
    let isLate = timer == nil
    do throws(SystemError) {
      guard let status = try process.poll() else { return }
      end()
      guard !isLate, status == .exited(code: 0) else {
        throw SystemError(
          operation: "ask for the engine of", subject: compiler.path, code: ETIMEDOUT,
          advice: "no answer, \(status); is libwasmtime.so installed with it?")
      }
      var answer = [UInt8](repeating: 0, count: Self.maximumAnswer)
      let count = max(Glibc.read(output.raw, &answer, answer.count), 0)
      let text = String(decoding: answer.prefix(count), as: UTF8.self)
      guard let line = text.split(separator: "\n").first, let key = EngineKey(line) else {
        throw SystemError(
          operation: "ask for the engine of", subject: compiler.path, code: EINVAL,
          advice: "its answer is no name; the binaries must be of one version")
      }
      result = .success(key)
    } catch {
      end()
      result = .failure(StartError(ExitCode.unavailable, "\(error)"))
    }
  }
}
