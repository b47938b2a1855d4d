import BulkheadConfig
import BulkheadCore
import BulkheadSystem

/// Listening sockets that were bound before this process started: by a socket unit, or by a supervisor before this one.
struct InheritedSockets {
  /// One of them.
  struct Socket {
    /// As it was handed over.
    var name: String
    var descriptor: SharedDescriptor
    var address: NetworkAddress

    /// A supervisor before this one had it stored; else a socket unit bound it.
    var isStored: Bool { name.hasPrefix(InheritedSockets.storedPrefix) }
  }

  /// What a stored socket's name starts with, before its listener's: a socket unit's names have none.
  private static let storedPrefix = "listener-"

  /// Those that nobody has taken yet.
  private(set) var sockets: [Socket]
  /// What was handed over and cannot be accepted on, for the log.
  private(set) var problems: [String] = []

  init(_ sockets: [Socket] = []) { self.sockets = sockets }

  /// Takes over the descriptors that the service manager handed to this process; to be called before it opens any of its
  /// own. Those that are no sockets to accept on are closed.
  init(_ environment: ServiceEnvironment) {
    var sockets: [Socket] = []
    for (index, name) in environment.descriptorNames.enumerated() {
      let raw = ServiceEnvironment.firstDescriptor + Int32(index)
      do throws(SystemError) {
        let socket = try ListeningSocket(adopting: Descriptor(owning: raw))
        let address = socket.address
        sockets.append(Socket(name: name, descriptor: SharedDescriptor(socket.takeDescriptor()), address: address))
      } catch {
        problems.append(
          "descriptor \(raw), '\(LogText.escaped(name, quoted: false))', which came with the start, is not used: \(error)"
        )
      }
    }
    self.sockets = sockets
  }

  /// The name under which a listener's socket is stored.
  static func storedName(of listener: String) -> String { storedPrefix + listener }

  /// Takes the socket of a listener: the one that a socket unit gave its name, wherever that listens, else one that is
  /// bound to its address.
  mutating func take(for listener: Configuration.Listener) -> Socket? {
    let stored = Self.storedName(of: listener.name)
    let fits = { (socket: Socket) in ListeningSocket.isBound(socket.descriptor.raw, to: listener.address) }
    let index =
      sockets.firstIndex { !$0.isStored && $0.name == listener.name }
      ?? sockets.firstIndex { !$0.isStored && fits($0) }
      ?? sockets.firstIndex { $0.name == stored && fits($0) }
      ?? sockets.firstIndex { $0.isStored && listener.address.port != 0 && fits($0) }
    return index.map { sockets.remove(at: $0) }
  }
}
