import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// A crash policy from its files to what clients and operators see.
@Suite struct PolicyIntegrationTests {
  static let house = """
    name: house
    extends: auth
    failAnswer: {status: 403, body: "house rules"}
    exhaustion: {strategy: FAIL_OPEN}
    backoff: {initial: 1ms, max: 2ms}
    budget: {restarts: 1, interval: 60s}
    suspects: {lane: off}
    """

  @Test func whatAPolicySaysIsWhatHappens() throws {
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "faulty", module: "faulty", policy: "house")],
      files: ["policies/house.yaml": Self.house])
    #expect(try bulkhead.get().status == 200)
    var answers: [Int] = []
    // The budget is soon spent, and then the strategy is another.
    try bulkhead.wait("it is quarantined") {
      if try bulkhead.plugin("faulty").state == .quarantined { return true }
      let answer = try bulkhead.get("/", [("x-fault", "trap")])
      answers.append(answer.status)
      if answer.status == 403 { #expect(answer.text == "house rules") }
      return false
    }
    #expect(Set(answers).isSubset(of: [200, 403]))
    #expect(answers.contains(403))
    #expect(try bulkhead.get().status == 200)
  }

  @Test func theControlAPITellsWhereValuesComeFrom() throws {
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "faulty", module: "faulty", policy: "house")],
      files: ["policies/house.yaml": Self.house])
    let policies = try bulkhead.decode(PoliciesResponse.self, ControlPaths.policies).policies
    #expect(policies.contains(.init(name: "house", extends: "auth", plugins: ["faulty"])))
    for path in [ControlPaths.policy("house"), ControlPaths.policy(ofPlugin: "faulty")] {
      let policy = try bulkhead.decode(PolicyResponse.self, path)
      #expect(policy.lineage == ["house", "auth", "default"])
      let status = try #require(policy.settings.first { $0.key == "failAnswer.status" })
      #expect(status.value == "403")
      #expect(status.location?.hasSuffix("policies/house.yaml:3:22") == true)
      let standby = try #require(policy.settings.first { $0.key == "standby" })
      #expect(standby.policy == "auth")
    }
    #expect(try bulkhead.control("GET", ControlPaths.policy("nobody")).status == 404)
    #expect(try bulkhead.control("GET", ControlPaths.policy(ofPlugin: "nobody")).status == 404)
  }
}
