import BulkheadControl
import Hummingbird
import HummingbirdCore
import NIOCore

/// Answers on the admin listener: the same API, of which only what may be read by whoever reaches the address.
///
/// What can hold a client's or a guest's words (events, crashes, last words of workers, request ids) and what says where
/// files are (policies) is not there.
struct AdminResponder: HTTPResponder {
  /// Recognises a bulkheadd.
  static let server = "bulkheadd"
  static let paths = [
    ControlPaths.plainMetrics, ControlPaths.ready, ControlPaths.live, ControlPaths.health, ControlPaths.metrics,
    ControlPaths.status, ControlPaths.plugins, ControlPaths.statistics,
  ]

  let answers: RecentAnswers

  func respond(to request: Request, context: ControlContext) async throws -> Response {
    var response = await answer(request)
    // The connection's place is somebody else's then.
    response.headers[.connection] = "close"
    response.headers[.server] = Self.server
    return response
  }

  private func answer(_ request: Request) async -> Response {
    let method = request.method.rawValue
    switch Self.route(method: method, target: request.head.path ?? "") {
    case .failure(let refusal):
      return ControlAnswers.response(
        to: refusal, method: method, paths: Self.paths,
        advice: "; this address shows, and steers nothing: for that there is bulkheadctl")
    case .success(let route):
      return await ControlAnswers.response { Self.withoutSecrets(try await answers.answer(route)) }
    }
  }

  /// What is asked for, where it may be.
  static func route(method: String, target: String) -> Result<ControlRoute, ControlRoute.Refusal> {
    guard method == "GET" else { return .failure(.methodNotAllowed(allow: "GET")) }
    switch ControlRoute.parse(method: method, target: target) {
    case .success(let route):
      switch route {
      case .metrics, .ready, .live, .status, .plugins, .statistics: return .success(route)
      default: return .failure(.notFound)
      }
    // What takes another method is not there at all.
    case .failure: return .failure(.notFound)
    }
  }

  /// Without what foreign words there may be in it.
  static func withoutSecrets(_ answer: ControlAnswer) -> ControlAnswer {
    switch answer {
    case .plugins(var response):
      for index in response.plugins.indices {
        response.plugins[index].lastExit?.detail = ""
        response.plugins[index].lastExit?.crash = nil
        response.plugins[index].module = ""
      }
      return .plugins(response)
    case .status(var response):
      response.upgrade?.detail = ""
      return .status(response)
    default: return answer
    }
  }
}

/// The supervisor is asked once for all who ask the same within a short time: however many ask, it has no more to do.
actor RecentAnswers {
  /// How old an answer may be.
  static let lifetime = Duration.milliseconds(200)

  private struct Answer {
    var at: ContinuousClock.Instant
    var task: Task<ControlAnswer, any Error>
  }

  private let backend: ControlBackend
  /// As many as there are paths at the most.
  private var recent: [(route: ControlRoute, answer: Answer)] = []

  init(_ backend: ControlBackend) { self.backend = backend }

  /// Throws as the backend does.
  func answer(_ route: ControlRoute) async throws -> ControlAnswer {
    let now = ContinuousClock.now
    recent.removeAll { now - $0.answer.at >= Self.lifetime }
    if let known = recent.first(where: { $0.route == route }) { return try await known.answer.task.value }
    let backend = backend
    let task = Task { try await backend.answer(route, nil) }
    recent.append((route, Answer(at: now, task: task)))
    return try await task.value
  }
}
