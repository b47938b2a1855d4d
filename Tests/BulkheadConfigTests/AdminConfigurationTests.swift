import BulkheadConfig
import Foundation
import Testing

@Suite struct AdminConfigurationTests {
  @Test func thereIsNoAdminListenerUnlessItIsAskedFor() throws {
    #expect(try Tree().load().configuration.admin == nil)
    let loaded = try Tree(["bulkhead.yaml": Tree.listeners + "admin: {address: '127.0.0.1:9901'}"]).load()
    #expect(loaded.configuration.admin?.address.description == "127.0.0.1:9901")
    #expect(loaded.warnings.isEmpty)
  }

  static let mistakes: [(String, String)] = [
    ("admin: {}", "2:8: admin.address: missing: host:port to listen on"),
    ("admin: {adress: 'a:1'}", "2:9: admin.adress: unknown key; did you mean 'address'?"),
    ("admin: {address: 9901}", "2:18: admin.address: must be a string"),
    ("admin: {address: '127.0.0.1'}", "2:18: admin.address: must be host:port"),
  ]

  @Test(arguments: mistakes) func whatIsNoAddressIsSaidWithItsPlace(_ line: String, _ error: String) throws {
    let errors = try Tree(["bulkhead.yaml": Tree.listeners + line]).errors()
    #expect(errors.first?.hasPrefix("bulkhead.yaml:\(error)") == true, "\(errors)")
  }

  @Test func theFileOfEventsHasItsSize() throws {
    #expect(try Tree().load().configuration.eventLog == nil)
    let tree = try Tree(["bulkhead.yaml": Tree.listeners + "events: {path: log/events.log}"])
    let log = try #require(try tree.load().configuration.eventLog)
    #expect(log.path == "\(tree.root)/log/events.log" && log.size == .mebibytes(16))
    let small = try Tree(["bulkhead.yaml": Tree.listeners + "events: {path: /e, size: 64KiB}"])
    #expect(try small.load().configuration.eventLog?.size == .kibibytes(64))
    for (line, error) in [
      ("events: {}", "2:9: events.path: missing: a file to append to"),
      ("events: {path: ''}", "2:16: events.path: must not be empty"),
      ("events: {path: /e, size: 1}", "2:26: events.size: must be"),
    ] {
      let errors = try Tree(["bulkhead.yaml": Tree.listeners + line]).errors()
      #expect(errors.count == 1 && errors[0].hasPrefix("bulkhead.yaml:\(error)"), "\(errors)")
    }
  }

  @Test func itsPlaceIsNoListeners() throws {
    let tree = try Tree([
      "bulkhead.yaml":
        "listeners: [{name: edge, address: '127.0.0.1:8080', upstream: echo}]\nadmin: {address: '127.0.0.1:8080'}"
    ])
    let errors = tree.errors()
    #expect(errors.count == 1 && errors[0].contains("already what listener 'edge' listens on"), "\(errors)")
  }

  @Test(arguments: [
    ("127.0.0.1:1", true), ("127.9.9.9:1", true), ("[::1]:1", true), ("localhost:1", true), ("0.0.0.0:1", false),
    ("[::]:1", false), ("10.0.0.1:1", false), ("[2001:db8::1]:1", false), ("admin.example.com:1", false),
    ("[::ffff:7f00:1]:1", false),
  ])
  func anAddressThatOthersMayReachIsWarnedOf(_ address: String, _ isLoopback: Bool) throws {
    let loaded = try Tree(["bulkhead.yaml": Tree.listeners + "admin: {address: '\(address)'}"]).load()
    #expect(loaded.warnings.isEmpty == isLoopback, "\(loaded.warnings)")
    if !isLoopback {
      let warning = try #require(loaded.warnings.first)
      #expect(warning.key == "admin.address" && warning.location.line == 2, "\(warning)")
    }
  }
}
