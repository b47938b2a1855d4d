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

  /// Binds all of them.
  ///
  /// - Throws: `StartError` that names each listener that cannot be bound, with its place in the configuration; its code is
  ///   `noPermission` where that is why, else `unavailable`.
  init(_ listeners: [Configuration.Listener]) throws(StartError) {
    var sockets: [SharedDescriptor] = []
    var descriptions: [StatusResponse.Listener] = []
    var problems: [String] = []
    var code = ExitCode.unavailable
    for listener in listeners {
      do throws(SystemError) {
        let socket = try ListeningSocket(ListenAddress(host: listener.host, port: listener.port))
        let address = socket.address.description
        sockets.append(SharedDescriptor(socket.takeDescriptor()))
        descriptions.append(.init(name: listener.name, address: address, upstream: listener.upstream))
      } catch {
        problems.append("\(listener.location): listener '\(listener.name)': \(error)")
        if error.code == Errno.accessDenied || error.code == Errno.notPermitted { code = ExitCode.noPermission }
      }
    }
    guard problems.isEmpty else { throw StartError(code, problems) }
    self.sockets = sockets
    self.descriptions = descriptions
  }

  /// The numbers, in the order of the configuration; none once closed.
  var raw: [Int32] { sockets.map(\.raw) }

  /// Gives up the supervisor's own copies: when the front's are closed too, connections are refused.
  func close() { sockets = [] }
}
