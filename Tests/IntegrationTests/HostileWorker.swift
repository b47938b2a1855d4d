import BulkheadControl
import BulkheadCore
import Foundation

/// A `bulkheadd` where the plugin `hostile` has a worker that misbehaves, and `stamp` an honest one.
///
/// Requests with a body pass both, those without one pass `stamp` alone.
struct HostileWorker {
  let bulkhead: Bulkhead
  private let libexec: URL

  /// - Parameter hasLane: whether what looks like a request that it died of goes to another worker of it.
  init(_ act: String, failStrategy: String = "FAIL_CLOSE", eventLoops: Int = 1, hasLane: Bool = false) throws {
    libexec = FileManager.default.temporaryDirectory.appending(path: "bulkhead-hostile-\(UUID().uuidString.prefix(8))")
    try FileManager.default.createDirectory(at: libexec, withIntermediateDirectories: true)
    for (name, binary) in [
      ("bulkhead-front", "bulkhead-front"), ("bulkhead-compiler", "bulkhead-compiler"),
      ("bulkhead-worker", "bulkhead-hostile"),
    ] {
      try FileManager.default.createSymbolicLink(
        atPath: libexec.appending(path: name).path, withDestinationPath: Build.binary(binary))
    }
    bulkhead = try Bulkhead(
      plugins: [
        TestPlugin(name: "stamp", module: "header", policy: "roomy", phase: "AUTHN"),
        TestPlugin(
          name: "hostile", module: "stuck-body", failStrategy: failStrategy, policy: "hostile", phase: "STATS",
          configuration: "{act: \(act)}"),
      ], eventLoops: eventLoops, waitForReady: false, arguments: ["--libexec", libexec.path],
      files: [
        "policies/hostile.yaml": Self.policy + "suspects: {lane: \(hasLane ? "on" : "off")}\n",
        "policies/roomy.yaml": "name: roomy\ncallbackDeadline: 10s\n",
      ])
    try bulkhead.wait("the honest plugin is ready") { try bulkhead.plugin("stamp").state == .ready }
  }

  /// Not so often that its starts are all that the machine does.
  private static let policy = """
    name: hostile
    callbackDeadline: 100ms
    grace: 50ms
    admissionWait: 2s
    backoff: {initial: 20ms, factor: 1, max: 20ms}
    budget: {restarts: 10000, interval: 60s, starts: 10000}
    spare: {keep: 0s}

    """

  func remove() { try? FileManager.default.removeItem(at: libexec) }

  /// Proportional set size of the front in bytes.
  func frontMemory() throws -> Int {
    guard let pid = try bulkhead.status().front.pid else { throw ClientError("no front") }
    let text = try String(contentsOfFile: "/proc/\(pid)/smaps_rollup", encoding: .utf8)
    guard let line = text.split(separator: "\n").first(where: { $0.hasPrefix("Pss:") }),
      let size = line.split(separator: " ").compactMap({ Int($0) }).first
    else { throw ClientError("no size in \(text)") }
    return size << 10
  }

  /// One request that passes the hostile plugin; nil where the connection ended without an answer.
  func provoke() -> HTTPAnswer? {
    guard let connection = try? bulkhead.connection() else { return nil }
    connection.setTimeout(seconds: 10)
    return try? connection.request("POST", "/", headers: [("connection", "close")], body: Array("body".utf8))
  }
}
