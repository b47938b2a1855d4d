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
  /// Which of the sockets no socket unit holds.
  private var areStorable: [Bool] = []
  /// What the program before this one left and is no listener's any more. They stay open, and go on to the next program,
  /// for as long as a front of before serves there.
  private var former: [(listener: Handover.Listener, descriptor: SharedDescriptor)] = []
  /// Places of those that nobody had bound before.
  private var fresh: [Int] = []
  /// Names under which the service manager keeps sockets that are no listener's, or another one's now. They are to be
  /// forgotten before anything is stored: what is forgotten is all of a name.
  private(set) var forgettable: [String] = []
  /// What came with the start and is no listener's.
  var leftovers: [InheritedSockets.Socket]

  /// Takes over what was handed over, and binds the rest.
  ///
  /// - Parameters:
  ///   - handedOver: by the program before this one; they come first.
  ///   - inherited: from the service manager.
  /// - Throws: `StartError` that names each listener that cannot be bound, with its place in the configuration; its code is
  ///   `configuration` where the host is no address, `noPermission` where that is why, else `unavailable`.
  init(
    _ listeners: [Configuration.Listener], handedOver: [Handover.Listener] = [],
    inherited: InheritedSockets = InheritedSockets(), note: (LogLevel, String) -> Void = { _, _ in }
  ) throws(StartError) {
    var handedOver = handedOver
    var inherited = inherited
    var storable: [(listener: String, descriptor: SharedDescriptor)] = []
    var forgettable: [String] = []
    var sockets: [SharedDescriptor] = []
    var areStorable: [Bool] = []
    var descriptions: [StatusResponse.Listener] = []
    var problems: [StartError.Fault] = []
    for listener in listeners {
      if let socket = inherited.take(for: listener) {
        note(.info, "listener \(listener.name): takes over the socket '\(socket.name)' on \(socket.address)")
        sockets.append(socket.descriptor)
        areStorable.append(socket.isStored)
        if socket.isStored {
          storable.append((listener.name, socket.descriptor))
          if socket.name != InheritedSockets.storedName(of: listener.name) { forgettable.append(socket.name) }
        }
        descriptions.append(
          .init(name: listener.name, address: socket.address.description, upstream: listener.upstream))
        continue
      }
      do throws(SystemError) {
        if let index = Self.index(of: listener, in: handedOver) {
          let old = handedOver.remove(at: index)
          let descriptor = SharedDescriptor(try RawDescriptor.duplicate(old.socket))
          sockets.append(descriptor)
          areStorable.append(old.isStorable)
          // Where it is stored already, that changes nothing.
          if old.isStorable { storable.append((listener.name, descriptor)) }
          if old.isStorable, old.name != listener.name {
            forgettable.append(InheritedSockets.storedName(of: old.name))
          }
          descriptions.append(.init(name: listener.name, address: old.address, upstream: listener.upstream))
          continue
        }
        let socket = try ListeningSocket(listener.address)
        let address = socket.address.description
        let descriptor = SharedDescriptor(socket.takeDescriptor())
        fresh.append(sockets.count)
        sockets.append(descriptor)
        areStorable.append(true)
        storable.append((listener.name, descriptor))
        descriptions.append(.init(name: listener.name, address: address, upstream: listener.upstream))
      } catch {
        problems.append(.init(ExitCode.file(error), listener.location, "listener '\(listener.name)': \(error)"))
      }
    }
    do throws(SystemError) {
      for old in handedOver {
        former.append((old, SharedDescriptor(try RawDescriptor.duplicate(old.socket))))
        if old.isStorable { forgettable.append(InheritedSockets.storedName(of: old.name)) }
      }
    } catch {
      problems.append(.init(ExitCode.unavailable, nil, "the listening sockets of before cannot be kept: \(error)"))
    }
    guard problems.isEmpty else { throw StartError(problems) }
    self.sockets = sockets
    self.areStorable = areStorable
    self.storable = storable
    leftovers = inherited.sockets
    forgettable += leftovers.lazy.filter(\.isStored).map(\.name)
    self.forgettable = forgettable
    self.descriptions = descriptions
  }

  /// The socket of the same name and address, else of the same address.
  private static func index(of listener: Configuration.Listener, in sockets: [Handover.Listener]) -> Int? {
    let fits = { (socket: Handover.Listener) in
      socket.host == listener.address.host && socket.port == listener.address.port
    }
    return sockets.firstIndex { $0.name == listener.name && fits($0) } ?? sockets.firstIndex(where: fits)
  }

  /// What the next program in this one's place needs.
  func handover(_ listeners: [Configuration.Listener]) -> [Handover.Listener] {
    zip(zip(listeners, descriptions), zip(sockets, areStorable)).map { pair, socket in
      .init(
        name: pair.0.name, host: pair.0.address.host, port: pair.0.address.port, address: pair.1.address,
        isStorable: socket.1,
        socket: socket.0.raw)
    }
      + former.prefix(Handover.maximumListeners - min(sockets.count, Handover.maximumListeners)).map { former in
        var listener = former.listener
        listener.socket = former.descriptor.raw
        return listener
      }
  }

  /// The same of those that were bound here alone.
  func bound(_ listeners: [Configuration.Listener]) -> [Handover.Listener] {
    let all = handover(listeners)
    return fresh.map { all[$0] }
  }

  /// No front of before serves any more: connections are not to wait where nobody accepts.
  func letGoOfFormer() { former = [] }

  /// The numbers, in the order of the configuration; none once closed.
  var raw: [Int32] { sockets.map(\.raw) }

  /// Gives up the supervisor's own copies: when the front's are closed too, connections are refused.
  func close() {
    sockets = []
    areStorable = []
    former = []
    storable = []
  }
}
