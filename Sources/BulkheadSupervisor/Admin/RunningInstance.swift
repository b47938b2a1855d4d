import BulkheadConfig
import BulkheadSystem
import Glibc

/// Whether the bulkheadd of a configuration runs, as a check has to know: what that one uses is not in somebody's way.
enum RunningInstance {
  /// The longest that its answer is waited for.
  private static let timeout = timeval(tv_sec: 1, tv_usec: 0)
  /// As much of an answer has its head in it.
  private static let headBytes = 1_024

  /// Whether a bulkheadd answers on that control socket, and one on the address.
  static func listens(at address: SocketAddress, controlledBy socket: String) -> Bool {
    ControlSocket.isAnswered(socket) && isBulkhead(address)
  }

  private static func isBulkhead(_ address: SocketAddress) -> Bool {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    guard getaddrinfo(address.host, String(address.port), &hints, &list) == 0, let first = list else { return false }
    defer { freeaddrinfo(list) }
    let raw = socket(first.pointee.ai_family, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard raw >= 0 else { return false }
    let descriptor = Descriptor(owning: raw)
    var limit = timeout
    for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
      setsockopt(descriptor.raw, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
    }
    guard connect(descriptor.raw, first.pointee.ai_addr, first.pointee.ai_addrlen) == 0 else { return false }
    let request = Array("GET /live HTTP/1.1\r\nHost: \(address)\r\nConnection: close\r\n\r\n".utf8)
    guard send(descriptor.raw, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else {
      return false
    }
    var head: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: headBytes)
    while head.count < headBytes {
      let count = recv(descriptor.raw, &buffer, buffer.count, 0)
      guard count > 0 else { break }
      head += buffer.prefix(count)
    }
    return String(decoding: head, as: UTF8.self).lowercased().contains("\r\nserver: \(AdminResponder.server)\r\n")
  }
}
