import BulkheadCore
import CBulkheadSys

/// A TCP socket that accepts: non-blocking, SO_REUSEADDR, closed on exec.
public struct ListeningSocket: ~Copyable, Sendable {
  /// How many connections may wait to be accepted, unless something else is said.
  public static let usualBacklog: Int32 = 1_024

  /// The socket, which closes with this value; accept from it, or hand it on, but do not close it.
  public let descriptor: Descriptor
  /// Where it listens, with the port that the kernel picked where 0 was asked for.
  public let address: NetworkAddress

  /// Listens at the address; at every address of this machine where its host is empty.
  ///
  /// - Throws: `SystemError`: EADDRINUSE, EACCES (a port under 1024), EADDRNOTAVAIL (not an address of this machine),
  ///   EINVAL where the host is no address.
  public init(_ wanted: NetworkAddress, backlog: Int32 = ListeningSocket.usualBacklog) throws(SystemError) {
    var port: Int32 = 0
    var isIPv6: Int32 = 0
    var lookup: Int32 = 0
    var name = [CChar](repeating: 0, count: 64)
    let outcome: Result<Int32, SystemError>
    do throws(SystemError) {
      let raw = try Funnel.descriptor("listen on", on: wanted.description) {
        name.withUnsafeMutableBufferPointer { buffer in
          bh_listen(
            wanted.host.isEmpty ? nil : wanted.host, String(wanted.port), backlog, buffer.baseAddress,
            buffer.count, &port, &isIPv6, &lookup)
        }
      }
      outcome = .success(raw)
    } catch {
      outcome = .failure(Self.advised(error, lookup: lookup))
    }
    descriptor = Descriptor(owning: try outcome.get())
    address = Self.address(name, port)
  }

  /// Takes over a socket that somebody else bound, such as a service manager: non-blocking and closed on exec from now on.
  ///
  /// - Throws: `SystemError` that says why it is no TCP socket that listens; the descriptor is closed then.
  public init(adopting socket: consuming Descriptor) throws(SystemError) {
    let raw = socket.raw
    var port: Int32 = 0
    var isIPv6: Int32 = 0
    var name = [CChar](repeating: 0, count: 64)
    do throws(SystemError) {
      try Funnel.call("accept connections on", on: "descriptor \(raw)") {
        name.withUnsafeMutableBufferPointer { bh_adopt_listener(raw, $0.baseAddress, $0.count, &port, &isIPv6) }
      }
    } catch {
      var advised = error
      switch error.code {
      case 88, 94, 97: advised.advice = "it is no TCP socket; its unit needs ListenStream= with an address and a port"
      case 107: advised.advice = "it does not listen; its unit needs Accept=no"
      default: break
      }
      throw advised
    }
    descriptor = socket
    address = Self.address(name, port)
  }

  /// Whether a socket is bound to that address: port 0 is every port, and every address of IPv4 is every address of IPv6.
  public static func isBound(_ raw: Int32, to wanted: NetworkAddress) -> Bool {
    bh_is_bound_to(raw, wanted.host.isEmpty ? nil : wanted.host, String(wanted.port)) == 1
  }

  /// How many connections may wait in a listening TCP socket to be accepted.
  ///
  /// - Throws: `SystemError` where it is none.
  public static func backlog(of raw: Int32) throws(SystemError) -> Int32 {
    Int32(clamping: try Funnel.call("look at the accept queue of", on: "descriptor \(raw)") { bh_backlog(raw) })
  }

  /// Sets that for a socket that listens already; connections that wait stay. The kernel makes it at most
  /// net.core.somaxconn.
  ///
  /// - Throws: `SystemError` where it is no socket that listens.
  public static func setBacklog(of raw: Int32, to backlog: Int32) throws(SystemError) {
    try Funnel.call("set the accept queue of", on: "descriptor \(raw)") { bh_set_backlog(raw, backlog) }
  }

  private static func address(_ name: [CChar], _ port: Int32) -> NetworkAddress {
    let host = name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
    return NetworkAddress(host: String(decoding: host, as: UTF8.self), port: UInt16(clamping: port))
  }

  /// The socket alone.
  public consuming func takeDescriptor() -> Descriptor { descriptor }

  private static func advised(_ error: SystemError, lookup: Int32) -> SystemError {
    var error = error
    switch error.code {
    case Errno.invalid where lookup == -3:
      // EAI_AGAIN: whoever knows may be there later.
      error.code = Errno.again
      error.advice = "the name of the host cannot be looked up now; write it as 127.0.0.1:8080 or [::1]:8080"
    case Errno.invalid where lookup != 0:
      let why = bh_lookup_text(lookup).map { String(cString: $0) } ?? "unknown reason"
      error.advice = "the host is not an address of this machine (\(why)); write it as 127.0.0.1:8080 or [::1]:8080"
    case Errno.addressInUse: error.advice = "another process listens there; stop it or choose another port"
    case Errno.accessDenied:
      error.advice = "ports under 1024 need CAP_NET_BIND_SERVICE (AmbientCapabilities= of the service)"
    case 99: error.advice = "no interface of this machine has that address"
    default: break
    }
    return error
  }
}
