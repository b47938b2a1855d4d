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

  @Test func theBacklogIsWhatTheKernelSaysItIs() throws {
    let socket = try ListeningSocket(ListenAddress(host: "127.0.0.1", port: 0), backlog: 300)
    #expect(try ListeningSocket.backlog(of: socket.descriptor.raw) == 300)
    try ListeningSocket.setBacklog(of: socket.descriptor.raw, to: 70)
    #expect(try ListeningSocket.backlog(of: socket.descriptor.raw) == 70)
    let usual = try ListeningSocket(ListenAddress(host: "::1", port: 0))
    #expect(try ListeningSocket.backlog(of: usual.descriptor.raw) == ListeningSocket.usualBacklog)
  }

  @Test func whatDoesNotListenHasNoBacklog() {
    let connecting = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(connecting) }
    #expect(throws: SystemError.self) { try ListeningSocket.backlog(of: connecting) }
    #expect(throws: SystemError.self) { try ListeningSocket.backlog(of: -1) }
    #expect(throws: SystemError.self) { try ListeningSocket.setBacklog(of: -1, to: 1) }
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
