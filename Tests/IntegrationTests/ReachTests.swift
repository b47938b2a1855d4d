import BulkheadControl
import Foundation
import Testing

/// What a plugin reaches of the world, with real workers under their final filters: upstreams, and OpenSSL.
@Suite struct ReachTests {
  private static func plugin(_ name: String, policy: String = "quick", priority: Int = 0) -> TestPlugin {
    TestPlugin(name: name, module: "reach", policy: policy, priority: priority)
  }

  private static let upstreams = "{name: up, builtin: echo}, {name: admin, builtin: echo}"

  private func instance(_ upstreams: String) throws -> Bulkhead {
    try Bulkhead(
      plugins: [Self.plugin("reach", policy: "narrow")], upstream: Self.upstreams,
      files: [
        "policies/narrow.yaml": "name: narrow\nextends: default\ncallbackDeadline: 10s\nupstreams: \(upstreams)\n"
      ])
  }

  @Test func aPluginCallsNoUpstreamThatItsPolicyDoesNotList() throws {
    let bulkhead = try instance("[up]")
    let answer = try bulkhead.get("/", [("x-call", "up")])
    #expect(answer.status == 200, "\(answer)")
    for (header, status) in [("x-call", "02"), ("x-grpc", "04")] {
      let answer = try bulkhead.get("/", [(header, "admin")])
      #expect(answer.status == 409 && answer.header("x-status") == status, "\(header): \(answer)")
    }
    try bulkhead.wait("it is said") {
      bulkhead.logText.split(separator: "\n").contains {
        $0.contains("plugin=reach ") && $0.contains("'admin'") && $0.contains("(upstreams)")
      }
    }
    #expect(try bulkhead.plugin("reach").restarts == 0)
  }

  @Test func aPluginThatNobodyTrustsCallsNoUpstream() throws {
    let bulkhead = try instance("[]")
    let answer = try bulkhead.get("/", [("x-call", "up")])
    #expect(answer.status == 409 && answer.header("x-status") == "02", "\(answer)")
    #expect(try bulkhead.get().status == 200)
  }

  @Test func callsAreMarkedAndRequestsAreNot() throws {
    let bulkhead = try instance("all")
    let called = String(decoding: try bulkhead.get("/", [("x-call", "up")]).body, as: UTF8.self)
    #expect(called.contains("\"x-bulkhead-plugin\": \"reach\""), "\(called)")
    #expect(!called.contains("forged"))
    let answer = try bulkhead.get(
      "/", [("x-forge", "1"), ("X-Bulkhead-Plugin", "client"), ("x_bulkhead_plugin", "client")])
    #expect(answer.status == 200 && answer.header("x-bulkhead-plugin") == nil, "\(answer)")
    let forwarded = String(decoding: answer.body, as: UTF8.self).lowercased()
    #expect(forwarded.contains("x-forge") && !forwarded.contains("bulkhead"), "\(forwarded)")
  }

  // MARK: Keys

  private func maps(_ pid: Int32?) throws -> String {
    let pid = try #require(pid)
    return try String(contentsOfFile: "/proc/\(pid)/maps", encoding: .utf8)
  }

  @Test func aWorkerSignsByItselfAndNobodyElseHasTheLibrary() throws {
    let bulkhead = try Bulkhead(
      plugins: [
        Self.plugin("reach"), TestPlugin(name: "stamp", module: "header"),
        Self.plugin("mute", policy: "mute", priority: -1),
      ],
      files: [
        "policies/mute.yaml": """
        name: mute
        capabilities: [proxy_log, proxy_get_header_map_value, proxy_on_request_headers]
        """
      ])
    let answer = try bulkhead.get("/", [("x-sign", "1")])
    #expect(answer.status == 200, "\(answer)")
    for (plugin, hasLibrary) in [("reach", true), ("stamp", false), ("mute", false)] {
      #expect(
        try maps(bulkhead.worker(of: plugin)?.pid).contains("libcrypto") == hasLibrary, "the worker of \(plugin)")
    }
    #expect(try !maps(bulkhead.status().front.pid).contains("libcrypto"), "the front")
    // Neither its signature nor its end is the filter's business.
    let worker = try #require(try bulkhead.worker(of: "reach"))
    for _ in 0..<20 { #expect(try bulkhead.get("/", [("x-sign", "1")]).status == 200) }
    #expect(try bulkhead.worker(of: "reach")?.pid == worker.pid)
  }
}
