import BulkheadCore
import Testing

@Suite struct NetworkAddressTests {
  @Test(
    arguments: [
      ("127.0.0.1:8080", "127.0.0.1", 8_080, "127.0.0.1:8080"),
      ("[::1]:443", "::1", 443, "[::1]:443"),
      ("localhost:0", "localhost", 0, "localhost:0"),
      ("[::]:65535", "::", 65_535, "[::]:65535"),
      ("backend.local:8080", "backend.local", 8_080, "backend.local:8080"),
    ] as [(String, String, UInt16, String)])
  func anAddressIsReadAndWrittenAsPeopleDo(_ text: String, _ host: String, _ port: UInt16, _ back: String) throws {
    let address = try NetworkAddress(parsing: text)
    #expect(address.host == host)
    #expect(address.port == port)
    #expect(address.description == back)
  }

  @Test(arguments: [
    "", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:+1", "127.0.0.1:http",
    "::1:80", "[::1:80", "::1]:80", "[]:80", "[::1]", "a\u{0}b:80", ":80", "*:80", "example.com", "example.com:", ":x",
    "10.0.0.1:70000", "a_b:80", "-a:80", "a-:80", "a..b:80", "1.2.3:80", "1.2.3.256:80", "01.2.3.4:80", "[1.2.3.4]:80",
    "[::1%eth0]:80", "[name]:80", "\u{e9}.example:80",
  ])
  func whatIsNoAddressIsNone(_ text: String) {
    #expect(throws: NetworkAddress.Malformed.self) { try NetworkAddress(parsing: text) }
  }

  @Test func everyAddressOfAMachineIsWrittenWithoutAHost() {
    #expect(NetworkAddress(host: "", port: 80).description == ":80")
    #expect(!NetworkAddress.isHost(""))
  }

  @Test(arguments: [
    ("127.0.0.1", true), ("127.255.0.9", true), ("128.0.0.1", false), ("0.0.0.0", false), ("127.1", false),
    ("::1", true), ("0:0:0:0:0:0:0:1", true), ("0::0001", true), ("::0.0.0.1", true), ("::", false), ("1::", false),
    ("::2", false), ("::11", false), ("::1:1", false), ("::1:0", false), ("::ffff:127.0.0.1", false),
    ("localhost", true), ("localhost.localdomain", false), ("1", false), ("", false),
  ])
  func aLoopbackAddressIsOneThatThisMachineAloneReaches(_ host: String, _ isLoopback: Bool) {
    #expect(NetworkAddress(host: host, port: 1).isLoopback == isLoopback)
  }
}
