import BulkheadConfig
import BulkheadCore
import BulkheadPolicy
import Foundation
import Testing

@Suite struct CrashPolicyFileTests {
  static let repository = #filePath.components(separatedBy: "/Tests/")[0]

  @Test func theShippedPoliciesAreTheFilesOfTheRepository() throws {
    let names = try FileManager.default.contentsOfDirectory(atPath: "\(Self.repository)/policies")
      .filter { $0.hasSuffix(".yaml") }.sorted()
    #expect(names == ShippedPolicies.files.map(\.name))
    for file in ShippedPolicies.files {
      let text = try String(contentsOfFile: "\(Self.repository)/policies/\(file.name)", encoding: .utf8)
      #expect(text == file.text, "\(file.name)")
    }
  }

  @Test func thePresetsSayWhatTheyAreKnownFor() throws {
    let policies = try Tree().load().policies
    #expect(policies["default"] == CrashPolicy())
    let expected: [(String, Duration, Int)] = [
      ("default", .seconds(10), 10), ("fail-fast", .seconds(1), 3), ("patient", .seconds(2), 1_000),
    ]
    for (name, maximum, restarts) in expected {
      let policy = try #require(policies[name])
      #expect(policy.name == name)
      #expect(policy.backoff == .init(initial: .milliseconds(50), factor: 2, maximum: maximum))
      #expect(policy.budget == .init(restarts: restarts, interval: .seconds(60)))
      #expect(policy.stability == .seconds(30))
    }
  }

  @Test func aFileOfTheDirectoryComesBeforeTheShippedOneOfItsName() throws {
    let tree = try Tree([
      "policies/mine.yaml": "name: default\ncallbackDeadline: 1s\n---\nname: own\nmemoryLimit: 128MiB\n"
    ])
    let policies = try tree.load().policies
    #expect(policies["default"] == CrashPolicy(callbackDeadline: .seconds(1)))
    #expect(policies["own"] == CrashPolicy(name: "own", memoryLimit: .mebibytes(128)))
    #expect(policies.count == 4)
  }

  @Test func everyKeyIsRead() throws {
    let tree = try Tree([
      "policies/p.yaml": """
      name: p
      callbackDeadline: 1ms
      startDeadline: 2s
      grace: 3ms
      admissionWait: 4ms
      memoryLimit: 1MiB
      backoff: {initial: 5ms, factor: 6, max: 7s}
      budget: {restarts: 8, interval: 9s}
      stability: 10s
      logLinesPerSecond: 11
      bufferLimit: 12KiB
      callsInFlight: 13
      capabilities: [proxy_log, fd_write, proxy_on_tick, proxy_log]
      """
    ])
    var expected = CrashPolicy(
      name: "p", callbackDeadline: .milliseconds(1), startDeadline: .seconds(2), grace: .milliseconds(3),
      admissionWait: .milliseconds(4), memoryLimit: .mebibytes(1),
      backoff: .init(initial: .milliseconds(5), factor: 6, maximum: .seconds(7)),
      budget: .init(restarts: 8, interval: .seconds(9)), stability: .seconds(10), logLinesPerSecond: 11)
    expected.bufferLimit = .kibibytes(12)
    expected.callsInFlight = 13
    expected.capabilities = ["proxy_log", "fd_write", "proxy_on_tick"]
    #expect(try tree.load().policies["p"] == expected)
  }

  static let mistakes: [(String, String)] = [
    ("callbackDeadlin: 1s", "2:1: callbackDeadlin: unknown key; did you mean 'callbackDeadline'?"),
    ("backoff: {maximum: 1s}", "2:11: backoff.maximum: unknown key"),
    ("backoff: {factor: 0}", "2:19: backoff.factor: must be a whole number from 1 to 100, not 0"),
    ("backoff: {max: 10ms}", "2:16: backoff.max: the longest wait (10ms) is shorter than the first (50ms)"),
    ("budget: {interval: 10ms}", "2:20: budget.interval: must be from 1s to 24h, not 10ms"),
    ("memoryLimit: 1KiB", "2:14: memoryLimit: must be from 64 KiB to 4 GiB, not 1KiB"),
    ("jitter: 1", "2:1: jitter: unknown key"),
    ("bufferLimit: 17MiB", "2:14: bufferLimit: must be from 0 B to 16 MiB, not 17MiB"),
    ("callsInFlight: 65537", "2:16: callsInFlight: must be a whole number from 0 to 65536, not 65537"),
    (
      "capabilities: [proxy_lok]",
      "2:16: capabilities[0]: there is no hostcall, WASI function or callback 'proxy_lok'; did you mean 'proxy_log'?"
    ),
    (
      "capabilities: [malloc]",
      "2:16: capabilities[0]: there is no hostcall, WASI function or callback 'malloc'"
    ),
    ("capabilities: proxy_log", "2:15: capabilities: must be a list, not a string"),
  ]

  @Test(arguments: mistakes) func aMistakeIsToldWithItsPlaceAndItsKey(_ line: String, _ error: String) throws {
    #expect(try Tree(["policies/p.yaml": "name: p\n\(line)\n"]).errors() == ["policies/p.yaml:\(error)"])
  }

  @Test func twoPoliciesOfOneNameAreAnError() throws {
    let tree = try Tree(["policies/a.yaml": "name: p", "policies/b.yaml": "name: p"])
    #expect(tree.errors() == ["policies/b.yaml:1:7: name: there is already a policy 'p', at policies/a.yaml:1:7"])
  }
}
