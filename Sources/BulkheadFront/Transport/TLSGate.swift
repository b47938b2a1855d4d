import NIOCore
import NIOSSL
import NIOTLS

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

  /// Nobody waits any longer.
  func giveUp(_ problem: String) { finish(problem) }

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
