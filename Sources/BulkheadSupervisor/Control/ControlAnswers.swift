import BulkheadControl
import Hummingbird
import HummingbirdCore
import NIOCore

/// Makes responses of what the supervisor answers, for the control socket and for the admin listener alike.
enum ControlAnswers {
  /// All paths that there are, for those who asked for another one.
  private static let paths = [
    ControlPaths.status, ControlPaths.plugins, ControlPaths.workers, ControlPaths.metrics, ControlPaths.statistics,
    ControlPaths.events, ControlPaths.crashes, ControlPaths.suspects, ControlPaths.reload,
    "\(ControlPaths.reload)/NUMBER", ControlPaths.reloadCheck, ControlPaths.upgrade, ControlPaths.stop,
    ControlPaths.config, ControlPaths.logLevel, ControlPaths.policies, "\(ControlPaths.policies)/NAME",
    "\(ControlPaths.plugins)/NAME/policy", "\(ControlPaths.plugins)/NAME/restart",
    "\(ControlPaths.plugins)/NAME/reset", "\(ControlPaths.plugins)/NAME/suspects/clear", ControlPaths.ready,
    ControlPaths.live, ControlPaths.plainMetrics,
  ]

  /// That a request asks for nothing that there is.
  static func response(
    to refusal: ControlRoute.Refusal, method: String, paths: [String] = paths, advice: String = ""
  ) -> Response {
    switch refusal {
    case .notFound:
      return failure(
        .notFound, .notFound,
        "no such path; there are \(paths.dropLast().joined(separator: ", ")) and \(paths.last ?? "none")\(advice)")
    case .badQuery(let why): return failure(.badRequest, .badRequest, why)
    case .methodNotAllowed(let allow):
      var response = failure(
        .methodNotAllowed, .methodNotAllowed, "this path takes \(allow), not \(method)\(advice)")
      response.headers[.allow] = allow
      return response
    }
  }

  /// What is answered on a path; `ask` throws `ControlError` where that cannot be done.
  static func response(_ ask: () async throws -> ControlAnswer) async -> Response {
    do {
      switch try await ask() {
      case .status(let body): return try success(body)
      case .plugins(let body): return try success(body)
      case .workers(let body): return try success(body)
      case .plugin(let body): return try success(body)
      case .statistics(let body): return try success(body)
      case .events(let body): return try success(body)
      case .config(let body): return try success(body)
      case .logLevel(let body): return try success(body)
      case .policies(let body): return try success(body)
      case .policy(let body): return try success(body)
      case .reload(let body): return response(body.isUnderWay ? .accepted : .ok, try ControlJSON.encode(body))
      case .upgrade(let body): return try success(body)
      case .crashes(let body): return try success(body)
      case .suspects(let body): return try success(body)
      case .metrics(let metrics): return text(.ok, metrics, ControlPaths.metricsContentType)
      case .live: return text(.ok, "live\n")
      case .readiness(nil): return text(.ok, "ready\n")
      case .readiness(let why?): return text(.serviceUnavailable, "not ready: \(why)\n")
      }
    } catch let error as ControlError {
      return failure(status(of: error.code), error.code, error.message, error.details)
    } catch {
      return failure(.internalServerError, .internal, "\(error)")
    }
  }

  /// That something cannot be done.
  static func failure(
    _ status: HTTPResponse.Status, _ code: ErrorResponse.Code, _ message: String, _ details: [String] = []
  ) -> Response {
    let body = (try? ControlJSON.encode(ErrorResponse(code: code, message: message, details: details))) ?? []
    return response(status, body)
  }

  private static func status(of code: ErrorResponse.Code) -> HTTPResponse.Status {
    switch code {
    case .badRequest: .badRequest
    case .notFound, .unknownPlugin, .unknownPolicy: .notFound
    case .methodNotAllowed: .methodNotAllowed
    case .forbidden: .forbidden
    case .conflict: .conflict
    case .invalidConfiguration: .unprocessableContent
    case .unavailable: .serviceUnavailable
    case .internal: .internalServerError
    }
  }

  private static func success(_ body: some Encodable) throws -> Response {
    response(.ok, try ControlJSON.encode(body))
  }

  private static func response(_ status: HTTPResponse.Status, _ body: [UInt8]) -> Response {
    var response = Response(status: status)
    response.headers[.contentType] = ControlJSON.contentType
    response.body = ResponseBody(byteBuffer: ByteBuffer(bytes: body + [UInt8(ascii: "\n")]))
    return response
  }

  private static func text(
    _ status: HTTPResponse.Status, _ text: String, _ type: String = "text/plain; charset=utf-8"
  ) -> Response {
    var response = Response(status: status)
    response.headers[.contentType] = type
    response.body = ResponseBody(byteBuffer: ByteBuffer(string: text))
    return response
  }
}
