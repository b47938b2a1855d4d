import BulkheadWire
import NIOConcurrencyHelpers
import NIOCore
import NIOSSL
import NIOTLS

/// TLS towards one upstream: its certificates, read once. Any thread.
final class UpstreamTLS: Sendable {
  /// Why no connection can be secured. `reason` is for people.
  struct Problem: Error, CustomStringConvertible {
    var reason: String
    var description: String { reason }
  }

  /// What the certificate must be for; empty: the endpoint's host.
  let serverName: String
  private let material: Result<Material, Problem>
  /// One for each version of HTTP that is asked for.
  private let contexts = NIOLockedValueBox<[String: NIOSSLContext]>([:])

  private struct Material: Sendable {
    var authorities: [NIOSSLCertificate]
    var chain: [NIOSSLCertificate]
    var key: NIOSSLPrivateKey?
  }

  init(_ settings: FrontBootstrap.TLS) {
    serverName = settings.serverName
    do throws(Problem) {
      material = .success(
        Material(
          authorities: try Self.certificates(settings.authorities, "authorities"),
          chain: try Self.certificates(settings.certificate, "certificate"), key: try Self.key(settings)))
    } catch {
      material = .failure(error)
    }
  }

  private static func certificates(
    _ pem: [UInt8], _ what: String
  ) throws(Problem) -> [NIOSSLCertificate] {
    guard !pem.isEmpty else { return [] }
    guard let certificates = try? NIOSSLCertificate.fromPEMBytes(pem), !certificates.isEmpty else {
      throw Problem(reason: "its tls.\(what) has no certificate in PEM")
    }
    return certificates
  }

  private static func key(_ settings: FrontBootstrap.TLS) throws(Problem) -> NIOSSLPrivateKey? {
    guard settings.certificate.isEmpty == settings.privateKey.isEmpty else {
      throw Problem(reason: "its tls.certificate and its key come together or not at all")
    }
    guard !settings.privateKey.isEmpty else { return nil }
    guard let key = try? NIOSSLPrivateKey(bytes: settings.privateKey, format: .pem) else {
      throw Problem(reason: "its tls.privateKey is no private key in PEM without a passphrase")
    }
    return key
  }

  /// Reads the system's certificates and makes what connections share, so that the first one does not wait for it.
  ///
  /// - Throws: `Problem` where no connection will ever be secured.
  func prepare(alpn: String) throws(Problem) { _ = try context(alpn: alpn) }

  private func context(alpn: String) throws(Problem) -> NIOSSLContext {
    if let context = contexts.withLockedValue({ $0[alpn] }) { return context }
    let material = try self.material.get()
    var configuration = TLSConfiguration.makeClientConfiguration()
    configuration.minimumTLSVersion = .tlsv12
    configuration.applicationProtocols = [alpn]
    configuration.trustRoots = material.authorities.isEmpty ? .default : .certificates(material.authorities)
    configuration.certificateChain = material.chain.map { .certificate($0) }
    configuration.privateKey = material.key.map { .privateKey($0) }
    do {
      let context = try NIOSSLContext(configuration: configuration)
      contexts.withLockedValue { $0[alpn] = context }
      return context
    } catch {
      throw Problem(reason: "its certificates cannot be used: \(error)")
    }
  }

  /// The handler that secures one connection.
  ///
  /// - Parameter host: of the endpoint.
  /// - Throws: `Problem` where it cannot be secured.
  func handler(alpn: String, host: String) throws(Problem) -> NIOSSLClientHandler {
    let context = try context(alpn: alpn)
    let name = serverName.isEmpty ? host : serverName
    do {
      if let address = try? SocketAddress(ipAddress: name, port: 0) {
        // An address is no server name (RFC 6066): the certificate is checked against the peer's address instead.
        guard address == (try? SocketAddress(ipAddress: host, port: 0)) else {
          throw Problem(reason: "its tls.serverName is an address other than the endpoint's")
        }
        return try NIOSSLClientHandler(context: context, serverHostname: nil)
      }
      return try NIOSSLClientHandler(context: context, serverHostname: name)
    } catch let problem as Problem {
      throw problem
    } catch {
      throw Problem(reason: "'\(name)' is no server name: \(error)")
    }
  }

  /// For people: what went wrong with a connection.
  static func describe(_ error: any Error) -> String {
    switch error {
    case let problem as Problem: return problem.reason
    case NIOSSLError.handshakeFailed(let error):
      let text = "\(error)"
      if text.contains("CERTIFICATE_VERIFY_FAILED") {
        return
          "its certificate is not trusted: none of the authorities that are trusted here has signed it, or it has expired"
      }
      return "the TLS handshake failed: \(text)"
    case let error as NIOSSLExtraError where error == .failedToValidateHostname:
      return "its certificate is for another name"
    case NIOSSLError.uncleanShutdown: return "it ended TLS without saying so"
    default: return UpstreamPool.describe(error)
    }
  }
}

/// Waits for the end of the TLS handshake of a connection to an upstream, and checks that both agree on what is spoken.
final class TLSGate: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = ByteBuffer

  private let alpn: String
  private let isALPNRequired: Bool
  private var done: ((String?) -> Void)?
  private var error = ""

  /// - Parameter done: told once: nil, or what is wrong.
  init(isALPNRequired: Bool, alpn: String, done: @escaping (String?) -> Void) {
    self.isALPNRequired = isALPNRequired
    self.alpn = alpn
    self.done = done
  }

  private func finish(_ problem: String?) {
    let done = self.done
    self.done = nil
    done?(problem)
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case .handshakeCompleted(let negotiated)? = event as? TLSUserEvent {
      if negotiated == alpn || (negotiated == nil && !isALPNRequired) {
        finish(nil)
      } else {
        finish("does not speak \(alpn) over TLS (it agreed on \(negotiated ?? "nothing"))")
      }
    }
    context.fireUserInboundEventTriggered(event)
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    guard done != nil else { return context.fireErrorCaught(error) }
    if self.error.isEmpty { self.error = "cannot be trusted with a connection: \(UpstreamTLS.describe(error))" }
    context.close(promise: nil)
  }

  func channelInactive(context: ChannelHandlerContext) {
    finish(error.isEmpty ? "closed the connection in the TLS handshake" : error)
    context.fireChannelInactive()
  }
}
