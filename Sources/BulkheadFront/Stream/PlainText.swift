/// What clients are told of a failure behind the front: nothing of addresses, plugins and reasons, which are in the log and
/// in the access log's lines.
enum PlainText {
  static let badGateway: StaticString = "the upstream gave no valid response"
  static let unreachable: StaticString = "the upstream cannot be reached"
  static let upstreamTimeout: StaticString = "the upstream did not respond in time"
  static let busy: StaticString = "the upstream takes no more requests for now"
  static let timeout: StaticString = "the request was not dealt with in time"
  static let unavailable: StaticString = "the service is unavailable"
  static let overload: StaticString = "the service is overloaded"
  static let largeRequest: StaticString = "the request's body is larger than is held here"
  static let largeResponse: StaticString = "the response's body is larger than is held here"

  /// Of a failure of the upstream that has that status.
  static func ofUpstream(_ status: Int, isConnect: Bool = false) -> StaticString {
    if isConnect { return unreachable }
    return status == 503 ? busy : status == 504 ? upstreamTimeout : badGateway
  }
}
