import BulkheadCore
import BulkheadSystem
import CBulkheadSys
import Glibc

/// Is a supervisor itself: starts the probe of the layers as a worker is started, with its own descriptors, and tells what
/// the spawn says of it. So a test can put this process where things are forbidden first.
enum NestedProbe {
  static func run() -> Never {
    var request = SpawnRequest(
      executable: "/proc/self/exe", arguments: ["bulkhead-probe", "layers"], descriptors: Array(0...10),
      namespaces: .all)
    request.oomScore = 500
    do {
      let child = try ProcessSpawner.spawn(request)
      let status = try child.wait()
      for layer in child.layers { Probe.say("spawn \(layer.layer.rawValue) \(layer.holds) \(layer.why)") }
      Probe.say("nested \(status)")
    } catch {
      Probe.fail("\(error)")
    }
    _exit(0)
  }
}
