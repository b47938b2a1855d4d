import BulkheadControl
import BulkheadCore
import NIOCore
import NIOHTTP1
import NIOPosix

/// Speaks HTTP/1.1 over the supervisor's Unix socket: one connection a request.
struct ControlClient: Sendable {
  /// The largest answer that is read, in bytes.
  static let maximumBody = 64 << 20

  var socketPath: String
  /// The longest from the connect to the end of the answer.
  var timeout: Duration = .seconds(30)

  /// Throws where the supervisor cannot be reached, says no, or answers what is not this type.
  func get<Value: Decodable>(_ type: Value.Type, _ path: String) async throws(ControlFailure) -> Value {
    try await request(type, .GET, path)
  }

  /// As `get`.
  func post<Value: Decodable>(_ type: Value.Type, _ path: String) async throws(ControlFailure) -> Value {
    try await request(type, .POST, path)
  }

  /// As `get`.
  func put<Value: Decodable>(_ type: Value.Type, _ path: String) async throws(ControlFailure) -> Value {
    try await request(type, .PUT, path)
  }

  /// The answer as text. Throws where the supervisor cannot be reached or says no.
  func text(_ path: String) async throws(ControlFailure) -> String {
    let response = try await exchange(.GET, path)
    guard (200..<300).contains(response.status) else { throw refusal(response, of: path) }
    return String(decoding: response.body, as: UTF8.self)
  }

  private func request<Value: Decodable>(
    _ type: Value.Type, _ method: HTTPMethod, _ path: String
  ) async throws(ControlFailure) -> Value {
    let response = try await exchange(method, path)
    if (200..<300).contains(response.status) {
      do {
        return try ControlJSON.decode(type, from: response.body)
      } catch {
        throw ControlFailure(
          exitCode: ExitCode.software,
          message: "the answer to \(path) is not what this bulkheadctl knows: \(error). Are both of the same version?")
      }
    }
    throw refusal(response, of: path)
  }

  private func refusal(_ response: Response, of path: String) -> ControlFailure {
    if let refusal = try? ControlJSON.decode(ErrorResponse.self, from: response.body) {
      return ControlFailure(status: response.status, error: refusal.error)
    }
    let code = response.status == 403 ? ExitCode.noPermission : ExitCode.software
    return ControlFailure(exitCode: code, message: "\(socketPath) answered \(path) with status \(response.status)")
  }

  private func exchange(_ method: HTTPMethod, _ path: String) async throws(ControlFailure) -> Response {
    guard let address = try? SocketAddress(unixDomainSocketPath: socketPath) else {
      throw ControlFailure(
        exitCode: ExitCode.usage, message: "'\(socketPath)' is too long for a socket's path (107 bytes at most)")
    }
    let loop = MultiThreadedEventLoopGroup.singleton.next()
    let promise = loop.makePromise(of: Response.self)
    let head = HTTPRequestHead(
      version: .http1_1, method: method, uri: path,
      headers: ["Host": "localhost", "Accept": ControlJSON.contentType, "Content-Length": "0", "Connection": "close"])
    let channel: any Channel
    do {
      channel = try await ClientBootstrap(group: loop)
        .connectTimeout(TimeAmount(timeout))
        .channelInitializer { channel in
          channel.eventLoop.makeCompletedFuture {
            try channel.pipeline.syncOperations.addHTTPClientHandlers()
            try channel.pipeline.syncOperations.addHandler(ExchangeHandler(head: head, promise: promise))
          }
        }
        .connect(to: address).get()
    } catch {
      promise.fail(error)
      throw ControlFailure(connecting: socketPath, error)
    }
    let deadline = loop.scheduleTask(in: TimeAmount(timeout)) { promise.fail(ExchangeError.timeout) }
    defer {
      deadline.cancel()
      channel.close(promise: nil)
    }
    do {
      return try await promise.futureResult.get()
    } catch ExchangeError.timeout {
      throw ControlFailure(
        exitCode: ExitCode.unavailable, message: "no answer from \(socketPath) within \(timeout): bulkheadd hangs")
    } catch ExchangeError.tooLarge {
      throw ControlFailure(
        exitCode: ExitCode.software, message: "the answer of \(socketPath) is larger than \(Self.maximumBody) bytes")
    } catch {
      throw ControlFailure(exitCode: ExitCode.unavailable, message: "no answer from \(socketPath): \(error)")
    }
  }
}

/// An answer as it came.
struct Response: Sendable {
  var status: Int
  var body: [UInt8]
}

enum ExchangeError: Error, CustomStringConvertible {
  case timeout, tooLarge, closed

  var description: String {
    switch self {
    case .timeout: "it took too long"
    case .tooLarge: "it is too large"
    case .closed: "the connection was closed before the end of the answer"
    }
  }
}

/// Sends one request once connected and collects its answer. Lives on its channel's event loop.
private final class ExchangeHandler: ChannelInboundHandler {
  typealias InboundIn = HTTPClientResponsePart
  typealias OutboundOut = HTTPClientRequestPart

  private let head: HTTPRequestHead
  private let promise: EventLoopPromise<Response>
  private var status = 0
  private var body: [UInt8] = []

  init(head: HTTPRequestHead, promise: EventLoopPromise<Response>) {
    self.head = head
    self.promise = promise
  }

  func channelActive(context: ChannelHandlerContext) {
    context.write(wrapOutboundOut(.head(head)), promise: nil)
    context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    context.fireChannelActive()
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head): status = Int(head.status.code)
    case .body(let bytes):
      guard bytes.readableBytes <= ControlClient.maximumBody - body.count else {
        promise.fail(ExchangeError.tooLarge)
        context.close(promise: nil)
        return
      }
      body += bytes.readableBytesView
    case .end:
      promise.succeed(Response(status: status, body: body))
    }
  }

  // The promise keeps its first result: after the end of the answer these change nothing.
  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    promise.fail(error)
    context.close(promise: nil)
  }

  func channelInactive(context: ChannelHandlerContext) {
    promise.fail(ExchangeError.closed)
    context.fireChannelInactive()
  }
}
