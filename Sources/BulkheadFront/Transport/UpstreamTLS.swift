import BulkheadCore
import NIOConcurrencyHelpers
import NIOCore
import NIOSSL

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

  init(_ settings: Upstream.TLS) {
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

  private static func key(_ settings: Upstream.TLS) throws(Problem) -> NIOSSLPrivateKey? {
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
    default: return ConnectFailure.describe(error)
    }
  }
}
