import BulkheadCore
import BulkheadSystem
import CBulkheadSys
import Glibc

/// Children that are shells, the shortest way to look around from inside.
enum Shell {
  static func request(_ script: String) -> SpawnRequest {
    SpawnRequest(executable: "/bin/sh", arguments: ["sh", "-c", script], descriptors: [0, 1, 2])
  }

  static func start(_ script: String) throws(SystemError) -> SpawnedProcess {
    try ProcessSpawner.spawn(request(script))
  }

  /// What the child writes to its standard output until it ends.
  static func output(_ request: SpawnRequest) throws(SystemError) -> (text: String, layers: [LayerReport]) {
    let pipe = try Pipe()
    var request = request
    request.descriptors[1] = pipe.write.raw
    return try output(request, from: pipe)
  }

  static func output(
    _ request: SpawnRequest, from pipe: consuming Pipe
  ) throws(SystemError) -> (text: String, layers: [LayerReport]) {
    let child = try ProcessSpawner.spawn(request)
    let read = pipe.takeRead()
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 4_096)
    while true {
      let count = try chunk.withUnsafeMutableBufferPointer { (buffer) throws(SystemError) in
        try read.read(into: UnsafeMutableRawBufferPointer(buffer)) ?? 0
      }
      if count == 0 { break }
      bytes.append(contentsOf: chunk.prefix(count))
    }
    _ = try child.wait()
    return (String(decoding: bytes, as: UTF8.self), child.layers)
  }
}

/// Runs a closure on a thread of its own and waits for the thread's end.
func onThread(_ body: @escaping () -> Void) {
  final class Box {
    let body: () -> Void
    init(_ body: @escaping () -> Void) { self.body = body }
  }
  var thread = pthread_t()
  let argument = Unmanaged.passRetained(Box(body)).toOpaque()
  let code = pthread_create(
    &thread, nil,
    { argument in
      if let argument { Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body() }
      return nil
    }, argument)
  if code == 0 { pthread_join(thread, nil) }
}

/// Spawns a child from a thread that ends right afterwards.
final class SpawnOnThread {
  private(set) var pidfd: Int32 = -1

  func run() throws(SystemError) -> Int32 {
    var outcome: Result<Int32, SystemError> = .failure(SystemError(operation: "start a thread", code: EAGAIN))
    onThread {
      do throws(SystemError) {
        let child = try Shell.start("exec sleep 60")
        self.pidfd = try child.pidfd.duplicate().release()
        outcome = .success(child.pid)
      } catch {
        outcome = .failure(error)
      }
    }
    return try outcome.get()
  }
}

/// Runs a closure on a thread that is the unprivileged user 1000: the kernel keeps ids by thread, and the bare system
/// calls change only the calling one's.
enum UnprivilegedThread {
  static func run<Value>(_ body: @escaping () throws(SystemError) -> Value) -> Result<Value, SystemError> {
    var outcome: Result<Value, SystemError> = .failure(SystemError(operation: "start a thread", code: EAGAIN))
    onThread {
      _ = bh_drop_groups()
      let code = bh_become(1_000, 1_000)
      guard code >= 0 else {
        outcome = .failure(SystemError(operation: "become user 1000", code: Int32(-code)))
        return
      }
      // A change of ids makes the process undumpable, and its files in /proc root's: the maps could not be written.
      _ = bh_set_dumpable(1)
      do throws(SystemError) { outcome = .success(try body()) } catch { outcome = .failure(error) }
    }
    return outcome
  }
}

enum SpawnStepTexts {
  /// What errors say for each step: a text that operators search for, so a change is seen here.
  static func operation(_ step: SpawnStep) -> String {
    switch step {
    case .pipes: "make the pipes to start"
    case .clone: "make a process for"
    case .setgroups: "forgo setgroups in the user namespace of"
    case .uidMap: "write the uid map of"
    case .gidMap: "write the gid map of"
    case .signals: "reset the signals of"
    case .deathSignal: "arm the parent-death signal of"
    case .release: "hold until its parent was ready"
    case .session: "start a session for"
    case .directory: "leave the working directory for"
    case .descriptors: "arrange the descriptors of"
    case .close: "close the other descriptors of"
    case .exec: "execute"
    case .controlGroup: "place in its control group"
    case .oomScore: "set the oom score of"
    case .userNamespaces: "forbid further user namespaces in that of"
    }
  }
}
