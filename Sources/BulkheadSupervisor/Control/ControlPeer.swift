import BulkheadControl
import Glibc
import NIOCore

/// Who asks over the control socket, as the kernel says it.
struct ControlPeer: Hashable, Sendable {
  /// 0 where it is no process of this pid namespace.
  var pid: Int32
  var uid: UInt32

  /// `struct ucred` of the kernel.
  private struct Credentials: Sendable {
    var pid: Int32 = 0
    var uid: UInt32 = .max
    var gid: UInt32 = .max
  }

  /// Who a Unix socket's peer was when it connected; nil where the kernel does not say.
  static func of(_ channel: any Channel) async -> ControlPeer? {
    guard let provider = channel as? any SocketOptionProvider else { return nil }
    let answer: EventLoopFuture<Credentials> = provider.unsafeGetSocketOption(
      level: .socket, name: NIOBSDSocket.Option(rawValue: SO_PEERCRED))
    guard let credentials = try? await answer.get() else { return nil }
    return ControlPeer(pid: credentials.pid, uid: credentials.uid)
  }
}
