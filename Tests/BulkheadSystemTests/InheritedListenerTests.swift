import BulkheadCore
import BulkheadSystem
import Glibc
import Testing

@Suite struct InheritedListenerTests {
  @Test(
    arguments: [
      ("127.0.0.1:0", "127.0.0.1", true, true), ("127.0.0.1:0", "127.0.0.2", false, false),
      ("127.0.0.1:0", "localhost", true, true), ("127.0.0.1:0", "", false, false), ("[::1]:0", "::1", true, true),
      ("[::1]:0", "127.0.0.1", false, false), ("0.0.0.0:0", "", true, true), ("[::]:0", "0.0.0.0", true, true),
      ("127.0.0.1:0", "no address", false, false),
    ] as [(String, String, Bool, Bool)])
  func aSocketIsBoundToItsOwnAddressAlone(_ bound: String, _ host: String, _ samePort: Bool, _ anyPort: Bool) throws {
    let socket = try ListeningSocket(NetworkAddress(parsing: bound))
    let (raw, port) = (socket.descriptor.raw, socket.address.port)
    #expect(ListeningSocket.isBound(raw, to: NetworkAddress(host: host, port: port)) == samePort)
    #expect(ListeningSocket.isBound(raw, to: NetworkAddress(host: host, port: 0)) == anyPort)
    #expect(!ListeningSocket.isBound(raw, to: NetworkAddress(host: host, port: port == 1 ? 2 : port - 1)))
  }

  @Test func aListeningSocketOfSomebodyElseIsTakenOver() throws {
    let theirs = try ListeningSocket(NetworkAddress(host: "127.0.0.1", port: 0))
    let copy = dup(theirs.descriptor.raw)
    _ = fcntl(copy, F_SETFL, 0)
    _ = fcntl(copy, F_SETFD, 0)
    let socket = try ListeningSocket(adopting: Descriptor(owning: copy))
    #expect(socket.address == theirs.address)
    #expect(fcntl(socket.descriptor.raw, F_GETFL) & O_NONBLOCK != 0)
    #expect(fcntl(socket.descriptor.raw, F_GETFD) & FD_CLOEXEC != 0)
  }

  enum Kind: CaseIterable {
    case bound, datagram, local, file
  }

  @Test(arguments: zip(Kind.allCases, ["Accept=no", "ListenStream=", "ListenStream=", "ENOTSOCK"]))
  func whatDoesNotAcceptTCPIsRefusedWithWhy(_ kind: Kind, _ word: String) throws {
    let raw: Int32 =
      switch kind {
      case .bound: socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      case .datagram: socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
      case .local: socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
      case .file: open("/dev/null", O_RDONLY)
      }
    let error = #expect(throws: SystemError.self) { _ = try ListeningSocket(adopting: Descriptor(owning: raw)).address }
    #expect("\(try #require(error))".contains(word), "\(String(describing: error))")
  }
}

/// The other end of a `NOTIFY_SOCKET`.
struct NotifyPeer: ~Copyable {
  let descriptor: Descriptor
  let name: String

  init(name: String) throws {
    self.name = name
    let raw = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    descriptor = Descriptor(owning: raw)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = name.hasPrefix("@") ? [0] + name.utf8.dropFirst() : Array(name.utf8)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    let size = socklen_t(2 + bytes.count + (name.hasPrefix("@") ? 0 : 1))
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(raw, $0, size) }
    }
    try #require(result == 0, "bind: \(errno)")
  }
}

@Suite struct NotifySocketTests {
  @Test(arguments: ["@bulkhead-test-\(getpid())-notify", "/tmp/bulkhead-test-\(getpid())-notify"])
  func aMessageArrivesWithItsDescriptor(_ name: String) throws {
    defer { unlink(name) }
    let peer = try NotifyPeer(name: name)
    let gift = try Memfd.message(name: "gift", Array("a gift".utf8))
    #expect(try NotifySocket.send(Array("FDSTORE=1".utf8), to: name, descriptors: [gift.descriptor.raw]))
    guard
      case .message(let message) = try MessageSocket.receive(
        peer.descriptor.raw, maximumBytes: 64, maximumDescriptors: 1)
    else {
      Issue.record("no message came")
      return
    }
    #expect(message.bytes == Array("FDSTORE=1".utf8))
    #expect(message.descriptors.count == 1)
  }

  @Test func aFullQueueIsNoError() throws {
    let peer = try NotifyPeer(name: "@bulkhead-test-\(getpid())-full")
    var sent = 0
    while try NotifySocket.send([65], to: peer.name) {
      sent += 1
      try #require(sent < 100_000)
    }
    #expect(sent > 0)
  }

  @Test(arguments: ["@bulkhead-test-nobody", "/nowhere/at/all", "relative", "", String(repeating: "/x", count: 100)])
  func aSocketWithNobodyBehindItIsAnError(_ name: String) {
    #expect(throws: SystemError.self) { try NotifySocket.send([65], to: name) }
  }
}
