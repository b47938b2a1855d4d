import BulkheadCore
import Foundation
import Testing

@testable import BulkheadConfig

/// What `bulkheadctl config` shows, against what the decoders take.
@Suite struct EffectiveConfigurationTests {
  private static func tree() throws -> Tree {
    try Tree([
      "bulkhead.yaml": """
      listeners: [{name: edge, address: '127.0.0.1:0', upstream: app}, {name: raw, address: '[::1]:0', upstream: echo, protocol: tcp}]
      upstreams:
        - {name: app, endpoints: ["127.0.0.1:1", "[::1]:2"]}
        - name: auth
          endpoints: ["h:1"]
          tls: {serverName: auth.example.com, caFile: tls/ca.pem, certFile: tls/own.pem, keyFile: tls/own.key}
      accessLog: {path: access.log, fields: {agent: request.headers.user-agent}}
      admin: {address: '127.0.0.1:9901'}
      """,
      "tls/ca.pem": ConnectionConfigurationTests.pem, "tls/own.pem": ConnectionConfigurationTests.pem,
      "tls/own.key": ConnectionConfigurationTests.key,
    ])
  }

  /// Every path of a key that the decoders know, with the index of a list left out.
  static let keys: [String] = {
    let sections: [(String, [String])] = [
      ("listeners", ConfigurationDecoder.listenerKeys), ("upstreams", ConfigurationDecoder.upstreamKeys),
      ("upstreams.tls", UpstreamTLSDecoder.keys), ("control", ConfigurationDecoder.controlKeys),
      ("limits", Bounds.table.map(\.name)),
      ("timeouts", Timeouts.table.map(\.name)), ("accessLog", AccessLogDecoder.keys),
      ("events", EventsDecoder.keys), ("admin", AdminDecoder.keys),
    ]
    return sections.flatMap { section, keys in keys.map { "\(section).\($0)" } }
  }()

  @Test func everyKeyOfTheFileIsInIt() throws {
    let settings = try Self.tree().load().configuration.settings
    let shown = Set(settings.map { $0.key.replacing(#/\[\d+\]/#, with: "") })
    #expect(Set(Self.keys).subtracting(shown) == [])
    let sections = Set(shown.map { $0.prefix { $0 != "." } }.map(String.init))
    #expect(sections == Set(ConfigurationDecoder.keys))
    #expect(Set(settings.map(\.key)).count == settings.count, "each once")
  }

  @Test func defaultsAreFilledInAndFilesAreNotShown() throws {
    let tree = try Self.tree()
    let settings = try tree.load().configuration.settings
    func value(_ key: String) -> String? { settings.first { $0.key == key }?.value }
    #expect(value("limits.headerBytes") == "60KiB" && value("limits.bodyBytes") == "0")
    #expect(value("timeouts.idle") == "60s" || value("timeouts.idle") == "1m")
    #expect(value("cache") == "\"/var/cache/bulkhead\"" && value("events.path") == "none")
    #expect(value("events.size") == "16MiB")
    #expect(value("listeners[0].protocol") == "http" && value("listeners[1].protocol") == "tcp")
    #expect(value("upstreams[0].endpoints") == #"["127.0.0.1:1", "[::1]:2"]"#)
    #expect(value("upstreams[2].builtin") == "echo", "the one that is there without being said")
    #expect(value("upstreams[1].tls.keyFile") == "\"\(tree.root)/tls/own.key\"")
    #expect(value("accessLog.fields") == #"{"agent": "request.headers.user-agent"}"#)
    let text = settings.map { "\($0.key) \($0.value)" }.joined(separator: "\n")
    #expect(!text.contains("BEGIN") && !text.contains("PRIVATE"))
  }
}
