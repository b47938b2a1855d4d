import BulkheadSystem
import CBulkheadSys
import Glibc

/// Starts many processes, most of which fail on purpose, and looks at what is left of them in this one.
enum SpawnProbe {
  static func run() -> Never {
    let before = Probe.openDescriptors()
    var failures = 0
    for _ in 0..<5 {
      for step in SpawnStep.allCases {
        for namespaces in [NamespaceSet(), .all] {
          var request = SpawnRequest(
            executable: "/bin/true", arguments: ["true"], descriptors: [0, 1, 2], namespaces: namespaces)
          request.failingStep = (step, EDOM)
          do {
            let child = try ProcessSpawner.spawn(request)
            _ = try child.wait()
          } catch {
            failures += 1
          }
        }
      }
    }
    let after = Probe.openDescriptors()
    var status: Int32 = 0
    let left = waitpid(-1, &status, WNOHANG)
    Probe.say("failures \(failures)")
    Probe.say("descriptors-left \(after.filter { !before.contains($0) }.count)")
    Probe.say("processes-left \(left == -1 && errno == ECHILD ? 0 : 1)")
    _exit(0)
  }
}
