import BulkheadConfig
import BulkheadCore
import BulkheadSystem
import Glibc

/// Connects to an address by hand: for checks, which have no event loop. It may take a while, since names are looked up.
enum Dialing {
  /// Why there is no connection.
  enum Failure: Error, Equatable {
    /// What the resolver says.
    case lookup(Int32)
    case connection(SystemError)
  }

  /// Looks the host up and connects to its first address.
  ///
  /// - Parameter milliseconds: the longest that the other side may take to accept.
  /// - Returns: a socket that does not block.
  /// - Throws: `Failure`.
  static func connect(to address: NetworkAddress, within milliseconds: Int32) throws(Failure) -> Descriptor {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_NUMERICSERV
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(address.host, String(address.port), &hints, &list)
    guard code == 0, let first = list?.pointee else { throw .lookup(code) }
    defer { freeaddrinfo(list) }
    func failure(_ code: Int32) -> Failure {
      .connection(SystemError(operation: "connect to", subject: "\(address)", code: code))
    }
    let raw = socket(
      first.ai_family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard raw >= 0 else { throw failure(errno) }
    let descriptor = Descriptor(owning: raw)
    guard Glibc.connect(descriptor.raw, first.ai_addr, first.ai_addrlen) != 0 else { return descriptor }
    guard errno == EINPROGRESS else { throw failure(errno) }
    guard wait(descriptor, POLLOUT, milliseconds) else { throw failure(ETIMEDOUT) }
    var error: Int32 = 0
    var size = socklen_t(MemoryLayout<Int32>.size)
    guard getsockopt(descriptor.raw, SOL_SOCKET, SO_ERROR, &error, &size) == 0 else { throw failure(errno) }
    guard error == 0 else { throw failure(error) }
    return descriptor
  }

  /// Waits until a socket can be read or written, or has failed.
  ///
  /// - Returns: whether it is so in time.
  static func wait(_ descriptor: borrowing Descriptor, _ events: Int32, _ milliseconds: Int32) -> Bool {
    var poll = pollfd(fd: descriptor.raw, events: Int16(events), revents: 0)
    return Glibc.poll(&poll, 1, milliseconds) > 0
  }
}
