import BulkheadCore
import BulkheadSystem
import CBulkheadSys

/// What processes that need files and sockets do to themselves all the same.
public enum ProcessHardening {
  /// The front: it has no capability and gains nothing by exec, leaves no core with clients' data behind and dies with its supervisor.
  ///
  /// To be called on the main thread before others start.
  ///
  /// - Throws: `SystemError` where the death signal cannot be armed: a front that could outlive its supervisor must not
  ///   run.
  public static func front() throws(SystemError) -> [LayerReport] {
    let capabilities = LayerReport.of(.capabilities) { () throws(SystemError) in
      // Its sockets are bound already, and connecting needs no right.
      try SystemCall.make("drop the capabilities") { bh_drop_capabilities() }
      return "none"
    }
    let layers = [SandboxStep.noNewPrivileges(), SandboxStep.limits([.noCore]), capabilities]
    try SandboxStep.deathSignal()
    return layers
  }
}
