import BulkheadConfig
import BulkheadCore
import Foundation
import Testing

/// TCP listeners, TLS and HTTP/2 of upstreams, bounds of what plugins share, the access log.
@Suite struct ConnectionConfigurationTests {
  static let pem = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
  static let key = "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"

  @Test func everyKeyIsRead() throws {
    let tree = try Tree([
      "bulkhead.yaml": """
      listeners:
        - {name: edge, address: "127.0.0.1:0", upstream: echo}
        - {name: raw, address: "127.0.0.1:0", upstream: both, protocol: tcp}
        - {name: plain, address: "127.0.0.1:0", upstream: echo, protocol: http, errorDetails: client}
      upstreams:
        - {name: both, endpoints: ["h:1"], protocol: http2}
        - name: auth
          endpoints: ["h:2"]
          protocol: http1
          tls: {serverName: auth.example.com, caFile: tls/ca.pem, certFile: tls/own.pem, keyFile: tls/own.key}
        - {name: public, endpoints: ["h:3"], tls: {}}
      limits: {sharedBytes: 1KiB, sharedEntries: 2, queues: 3, metrics: 4, connectionsPerClient: 5, bodyRate: 1KiB}
      accessLog:
        path: log/access.log
        fields: {agent: request.headers.user-agent, who: user}
      """,
      "tls/ca.pem": Self.pem, "tls/own.pem": Self.pem, "tls/own.key": Self.key,
    ])
    let configuration = try tree.load().configuration
    #expect(configuration.listeners.map(\.kind) == [.http, .tcp, .http])
    #expect(configuration.listeners.map(\.errorDetails) == [.log, .log, .client])
    #expect(configuration.upstreams.map(\.isHTTP2) == [true, false, false, false])
    let tls = try #require(configuration.upstreams[1].tls)
    #expect(tls.serverName == "auth.example.com")
    #expect(tls.authorities == Array(Self.pem.utf8))
    #expect(tls.certificate == Array(Self.pem.utf8))
    #expect(tls.privateKey == Array(Self.key.utf8))
    #expect(configuration.upstreams[2].tls == Upstream.TLS())
    #expect(configuration.upstreams[0].tls == nil)
    #expect(configuration.bounds.sharedBytes == .kibibytes(1))
    #expect(configuration.bounds.sharedEntries == 2)
    #expect(configuration.bounds.queues == 3)
    #expect(configuration.bounds.connectionsPerClient == 5)
    #expect(configuration.bounds.bodyRate == .kibibytes(1))
    #expect(configuration.bounds.metrics == 4)
    let log = try #require(configuration.accessLog)
    #expect(log.target == .file("\(tree.root)/log/access.log"))
    #expect(
      log.fields == [
        .init(name: "agent", property: "request.headers.user-agent"), .init(name: "who", property: "user"),
      ])
  }

  @Test func theAccessLogIsOffUnlessItIsAskedFor() throws {
    #expect(try Tree().load().configuration.accessLog == nil)
    let tree = try Tree(["bulkhead.yaml": Tree.listeners + "accessLog: {path: stdout}"])
    #expect(try tree.load().configuration.accessLog?.target == .standardOutput)
  }

  /// What follows the listeners in `bulkhead.yaml`, and the one error that must come of it.
  static let mistakes: [(String, String)] = [
    (
      "upstreams: [{name: a, endpoints: ['h:1'], protocol: h2}]",
      "2:53: upstreams[0].protocol: must be http1 or http2, not 'h2'"
    ),
    (
      "upstreams: [{name: a, builtin: echo, protocol: http2}]",
      "2:48: upstreams[0].protocol: a builtin upstream is part of the front: leave it out"
    ),
    (
      "upstreams: [{name: a, endpoints: ['h:1'], tls: {ca: x}}]",
      "2:49: upstreams[0].tls.ca: unknown key"
    ),
    (
      "upstreams: [{name: a, endpoints: ['h:1'], tls: {cafile: x}}]",
      "2:49: upstreams[0].tls.cafile: unknown key; did you mean 'caFile'?"
    ),
    (
      "upstreams: [{name: a, endpoints: ['h:1'], tls: {caFile: none.pem}}]",
      "2:57: upstreams[0].tls.caFile: ROOT/none.pem cannot be opened: No such file or directory (ENOENT)"
    ),
    (
      "upstreams: [{name: a, endpoints: ['h:1'], tls: {caFile: m.wasm}}]",
      "2:57: upstreams[0].tls.caFile: ROOT/m.wasm holds no PEM block of a certificate"
    ),
    (
      "upstreams: [{name: a, endpoints: ['h:1'], tls: {certFile: m.wasm}}]",
      "2:59: upstreams[0].tls.certFile: 'keyFile' is missing: a certificate is of no use without its key"
    ),
    (
      "upstreams: [{name: a, endpoints: ['h:1'], tls: {keyFile: m.wasm}}]",
      "2:58: upstreams[0].tls.keyFile: 'certFile' is missing: a key is of no use without its certificate"
    ),
    ("limits: {sharedByte: 1}", "2:10: limits.sharedByte: unknown key; did you mean 'sharedBytes'?"),
    ("limits: {queues: -1}", "2:18: limits.queues: must be a whole number from 0 to 1000000, not -1"),
    ("accessLog: {}", "2:12: accessLog.path: missing: a file to append to, or stdout"),
    ("accessLog: {path: x, field: {}}", "2:22: accessLog.field: unknown key; did you mean 'fields'?"),
    (
      "accessLog: {path: x, fields: {status: a}}",
      "2:39: accessLog.fields.status: every line has the field 'status' already: choose another name"
    ),
  ]

  @Test func whatAListenerOfBytesDoesNotAnswerHasNoDetails() throws {
    let tree = try Tree([
      "bulkhead.yaml": """
      listeners:
        - {name: raw, address: "127.0.0.1:0", upstream: echo, protocol: tcp, errorDetails: log}
        - {name: edge, address: "127.0.0.1:0", upstream: echo, errorDetails: all}
      """
    ])
    #expect(
      tree.errors() == [
        "bulkhead.yaml:2:86: listeners[0].errorDetails: a listener with 'protocol: tcp' answers nothing: leave it out",
        "bulkhead.yaml:3:72: listeners[1].errorDetails: must be log or client, not 'all'",
      ])
  }

  @Test(arguments: mistakes) func aMistakeIsToldWithItsPlaceAndItsKey(_ text: String, _ error: String) throws {
    let tree = try Tree(["bulkhead.yaml": Tree.listeners + text + "\n"])
    #expect(tree.errors() == ["bulkhead.yaml:\(error.replacing("ROOT/", with: ""))"])
  }

  static let refused: [(String, String, String)] = [
    ("udp", "", "must be http or tcp, not 'udp'"),
    ("tcp", "tls: {}", "upstream 'a' has 'tls', which is for requests and for calls of plugins"),
    ("tcp", "tls: {}, protocol: http2", "upstream 'a' has 'tls', which is for requests and for calls of plugins"),
  ]

  @Test(arguments: ["protocol: http1", "protocol: http2", "tls: {}", "protocol: http2, tls: {serverName: b}"])
  func requestsGoToAnUpstreamInAnyProtocolThatItSpeaks(_ upstream: String) throws {
    let tree = try Tree([
      "bulkhead.yaml": """
      listeners: [{name: l, address: "127.0.0.1:0", upstream: a}]
      upstreams: [{name: a, endpoints: ["h:1"], \(upstream)}]
      """
    ])
    #expect(tree.errors() == [])
  }

  @Test(arguments: refused) func whatAListenerCannotDoIsRefused(_ kind: String, _ upstream: String, _ why: String)
    throws
  {
    let more = upstream.isEmpty ? "" : ", \(upstream)"
    let tree = try Tree([
      "bulkhead.yaml": """
      listeners: [{name: l, address: "127.0.0.1:0", upstream: a, protocol: \(kind)}]
      upstreams: [{name: a, endpoints: ["h:1"]\(more)}]
      """
    ])
    let errors = tree.errors()
    #expect(errors.count == 1)
    #expect(errors.first?.hasPrefix("bulkhead.yaml:1:") == true)
    #expect(errors.first?.contains(why) == true, "\(errors)")
  }
}
