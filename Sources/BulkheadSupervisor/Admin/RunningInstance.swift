import BulkheadConfig
import BulkheadCore
import BulkheadSystem
import Glibc

/// Whether the bulkheadd of a configuration runs, as a check has to know: what that one uses is not in somebody's way.
enum RunningInstance {
  /// The longest that it may take to accept, and each piece of its answer.
  private static let milliseconds: Int32 = 1_000
  /// As much of an answer has its head in it.
  private static let headBytes = 1_024

  /// Whether a bulkheadd answers on that control socket, and one on the address.
  static func listens(at address: NetworkAddress, controlledBy socket: String) -> Bool {
    ControlSocket.isAnswered(socket) && isBulkhead(address)
  }

  private static func isBulkhead(_ address: NetworkAddress) -> Bool {
    let request = Array("GET /live HTTP/1.1\r\nHost: \(address)\r\nConnection: close\r\n\r\n".utf8)
    guard let descriptor = try? Dialing.connect(to: address, within: milliseconds),
      send(descriptor.raw, request, request.count, Int32(MSG_NOSIGNAL)) == request.count
    else { return false }
    var head: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: headBytes)
    while head.count < headBytes, Dialing.wait(descriptor, POLLIN, milliseconds) {
      let count = recv(descriptor.raw, &buffer, buffer.count, 0)
      guard count > 0 else { break }
      head += buffer.prefix(count)
    }
    return String(decoding: head, as: UTF8.self).lowercased().contains("\r\nserver: \(AdminResponder.server)\r\n")
  }
}
