import BulkheadControl
import Glibc
import NIOCore

/// Who may do what over the control socket, besides processes that bulkheadd has started.
struct ControlRights: Equatable, Sendable {
  /// Of bulkheadd: it may do everything, as root may.
  var uid: UInt32
  /// The group whose members may look; nil where there is none. Who is none of those two came by it, as the kernel lets
  /// nobody else use the socket.
  var readers: String?

  /// As whom the kernel shows every user that this process's user namespace does not have (`kernel.overflowuid`).
  static let unknownUser: UInt32 = 65_534

  /// Where bulkheadd is of that uid, any member of the group may look like it.
  private var isAmbiguous: Bool { readers != nil && uid == Self.unknownUser }

  /// Whether a user came by the group.
  func isReader(_ peer: UInt32) -> Bool { readers != nil && peer != 0 && (peer != uid || isAmbiguous) }

  /// Why a user may not make such a request; nil where it may.
  func refusal(of method: String, by peer: UInt32) -> String? {
    if peer == 0 || (peer == uid && !isAmbiguous) { return nil }
    let masters = isAmbiguous ? "root" : "uid \(uid) and root"
    guard let readers else { return "only \(masters) may use this socket; run the command as one of them" }
    if method == "GET" { return nil }
    return
      "members of group '\(readers)' may look, and only \(masters) may change anything; run the command as such a user"
  }
}

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

  /// Asks who a Unix socket's peer was when it connected; nil where this is no socket.
  static func ask(_ channel: any Channel) -> EventLoopFuture<ControlPeer>? {
    guard let provider = channel as? any SocketOptionProvider else { return nil }
    let answer: EventLoopFuture<Credentials> = provider.unsafeGetSocketOption(
      level: .socket, name: NIOBSDSocket.Option(rawValue: SO_PEERCRED))
    return answer.map { ControlPeer(pid: $0.pid, uid: $0.uid) }
  }

  /// The same; nil where the kernel does not say.
  static func of(_ channel: any Channel) async -> ControlPeer? { try? await ask(channel)?.get() }
}
