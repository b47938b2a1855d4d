import BulkheadConfig
import BulkheadControl
import BulkheadCore
import BulkheadSystem

/// The listening sockets. The supervisor holds them for as long as it takes traffic, so that a front that dies loses no
/// connection that waits in a queue.
final class ListenerSockets {
  /// What the control API tells of them.
  let descriptions: [StatusResponse.Listener]
  private var sockets: [SharedDescriptor] = []
  /// Those that no socket unit holds, with their listeners' names: to be stored by the service manager.
  private(set) var storable: [(listener: String, descriptor: SharedDescriptor)] = []
  /// What was handed over and is no listener's.
  var leftovers: [InheritedSockets.Socket]

  /// Takes over what was handed over, and binds the rest.
  ///
  /// - Throws: `StartError` that names each listener that cannot be bound, with its place in the configuration; its code is
  ///   `noPermission` where that is why, else `unavailable`.
  init(
    _ listeners: [Configuration.Listener], inherited: InheritedSockets = InheritedSockets(),
    note: (LogLevel, String) -> Void = { _, _ in }
  ) throws(StartError) {
    var inherited = inherited
    var storable: [(listener: String, descriptor: SharedDescriptor)] = []
    var sockets: [SharedDescriptor] = []
    var descriptions: [StatusResponse.Listener] = []
    var problems: [String] = []
    var code = ExitCode.unavailable
    for listener in listeners {
      if let socket = inherited.take(for: listener) {
        note(.info, "listener \(listener.name): takes over the socket '\(socket.name)' on \(socket.address)")
        sockets.append(socket.descriptor)
        if socket.isStored { storable.append((listener.name, socket.descriptor)) }
        descriptions.append(
          .init(name: listener.name, address: socket.address.description, upstream: listener.upstream))
        continue
      }
      do throws(SystemError) {
        let socket = try ListeningSocket(ListenAddress(host: listener.host, port: listener.port))
        let address = socket.address.description
        let descriptor = SharedDescriptor(socket.takeDescriptor())
        sockets.append(descriptor)
        storable.append((listener.name, descriptor))
        descriptions.append(.init(name: listener.name, address: address, upstream: listener.upstream))
      } catch {
        problems.append("\(listener.location): listener '\(listener.name)': \(error)")
        if error.code == Errno.accessDenied || error.code == Errno.notPermitted { code = ExitCode.noPermission }
      }
    }
    guard problems.isEmpty else { throw StartError(code, problems) }
    self.sockets = sockets
    self.storable = storable
    leftovers = inherited.sockets
    self.descriptions = descriptions
  }

  /// The numbers, in the order of the configuration; none once closed.
  var raw: [Int32] { sockets.map(\.raw) }

  /// Gives up the supervisor's own copies: when the front's are closed too, connections are refused.
  func close() {
    sockets = []
    storable = []
  }
}
