import BulkheadCore
import BulkheadSandbox
import CBulkheadSys
import Glibc

/// The whole sandbox, the filter included, and then one act.
enum ActProbe {
  static func run(_ name: String) -> Never {
    guard let act = Act.all[name] else {
      Probe.say("unknown act \(name)")
      _exit(64)
    }
    Act.prepare()
    let program = Probe.seccompProgram()
    var sandbox = Probe.enter()
    guard sandbox.finish(keeping: Probe.kept, seccomp: program) else {
      Probe.fail(sandbox.layers.filter { !$0.holds }.map { "\($0.layer): \($0.why)" }.joined(separator: "; "))
    }
    Probe.say("confined")
    let outcome = act()
    Probe.say("survived \(outcome)")
    _exit(0)
  }
}
