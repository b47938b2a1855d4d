import BulkheadCore
import BulkheadSystem
import Glibc
import Testing

@Suite struct ListeningSocketTests {
  @Test(arguments: ["127.0.0.1:0", "[::1]:0"]) func portZeroPicksOneThatIsTold(_ text: String) throws {
    let socket = try ListeningSocket(NetworkAddress(parsing: text))
    #expect(socket.address.port != 0)
    #expect(fcntl(socket.descriptor.raw, F_GETFL) & O_NONBLOCK != 0)
    #expect(fcntl(socket.descriptor.raw, F_GETFD) & FD_CLOEXEC != 0)
  }

  @Test func theBacklogIsWhatTheKernelSaysItIs() throws {
    let socket = try ListeningSocket(NetworkAddress(host: "127.0.0.1", port: 0), backlog: 300)
    #expect(try ListeningSocket.backlog(of: socket.descriptor.raw) == 300)
    try ListeningSocket.setBacklog(of: socket.descriptor.raw, to: 70)
    #expect(try ListeningSocket.backlog(of: socket.descriptor.raw) == 70)
    let usual = try ListeningSocket(NetworkAddress(host: "::1", port: 0))
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
    let socket = try ListeningSocket(NetworkAddress(host: "127.0.0.1", port: 0))
    let address = socket.address
    #expect { try ListeningSocket(address).address } throws: {
      "\($0)" == "cannot listen on \(address): address already in use (EADDRINUSE): another process listens there; "
        + "stop it or choose another port"
    }
  }

  @Test func aHostThatIsNoAddressIsAnErrorWithAdvice() {
    #expect { try ListeningSocket(NetworkAddress(host: "no address", port: 80)).address } throws: {
      "\($0)".hasPrefix("cannot listen on no address:80: ")
        && "\($0)".hasSuffix("write it as 127.0.0.1:8080 or [::1]:8080")
    }
  }
}
