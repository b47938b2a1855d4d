import CBulkheadSys
import Glibc

/// Runs a closure on a thread that is another user: the kernel keeps ids by thread, and the bare system calls change
/// only the calling one's.
enum AsUser {
  private final class Box {
    let body: () -> Void
    init(_ body: @escaping () -> Void) { self.body = body }
  }

  struct Unavailable: Error { var code: Int64 }

  static func run<Value>(_ id: UInt32, _ body: @escaping () throws -> Value) -> Result<Value, any Error> {
    var outcome: Result<Value, any Error> = .failure(Unavailable(code: 0))
    let box = Box {
      _ = bh_drop_groups()
      let code = bh_become(id, id)
      guard code >= 0 else {
        outcome = .failure(Unavailable(code: code))
        return
      }
      // A change of ids makes the process undumpable and its files in /proc root's: the maps could not be written.
      _ = bh_set_dumpable(1)
      outcome = Result { try body() }
    }
    var thread = pthread_t()
    let code = pthread_create(
      &thread, nil,
      { argument in
        if let argument { Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().body() }
        return nil
      }, Unmanaged.passRetained(box).toOpaque())
    if code == 0 { pthread_join(thread, nil) }
    return outcome
  }
}
