import BulkheadSystem
import Glibc
import Testing

@Suite struct ListeningSocketTests {
  @Test(
    arguments: [
      ("127.0.0.1:8080", "127.0.0.1", 8_080, "127.0.0.1:8080"),
      ("[::1]:443", "::1", 443, "[::1]:443"),
      ("localhost:0", "localhost", 0, "localhost:0"),
      (":80", "", 80, ":80"),
      ("[::]:65535", "::", 65_535, "[::]:65535"),
    ] as [(String, String, UInt16, String)])
  func anAddressIsReadAndWrittenAsPeopleDo(_ text: String, _ host: String, _ port: UInt16, _ back: String) throws {
    let address = try #require(ListenAddress(text))
    #expect(address.host == host)
    #expect(address.port == port)
    #expect(address.description == back)
  }

  @Test(arguments: [
    "", "8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:+1", "127.0.0.1:http",
    "::1:80",
    "[::1:80", "::1]:80", "[]:80", "[::1]", "a\u{0}b:80",
  ])
  func whatIsNoAddressIsNone(_ text: String) { #expect(ListenAddress(text) == nil) }

  @Test(arguments: ["127.0.0.1:0", "[::1]:0"]) func portZeroPicksOneThatIsTold(_ text: String) throws {
    let socket = try ListeningSocket(try #require(ListenAddress(text)))
    #expect(socket.address.port != 0)
    #expect(fcntl(socket.descriptor.raw, F_GETFL) & O_NONBLOCK != 0)
    #expect(fcntl(socket.descriptor.raw, F_GETFD) & FD_CLOEXEC != 0)
  }

  @Test func aPortThatIsTakenIsAnErrorWithAdvice() throws {
    let socket = try ListeningSocket(ListenAddress(host: "127.0.0.1", port: 0))
    let address = socket.address
    #expect { try ListeningSocket(address).address } throws: {
      "\($0)" == "cannot listen on \(address): address already in use (EADDRINUSE): another process listens there; "
        + "stop it or choose another port"
    }
  }

  @Test func aHostThatIsNoAddressIsAnErrorWithAdvice() {
    #expect { try ListeningSocket(ListenAddress(host: "no address", port: 80)).address } throws: {
      "\($0)".hasPrefix("cannot listen on no address:80: ")
        && "\($0)".hasSuffix("write it as 127.0.0.1:8080 or [::1]:8080")
    }
  }
}
