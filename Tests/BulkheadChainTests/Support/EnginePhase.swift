import BulkheadCore

@testable import BulkheadChain

/// Where a stream is when something befalls its plugin: each kind of callback that a plugin can have of one.
enum EnginePhase: CaseIterable {
  case requestHead
  case requestBytes
  case requestTrailers
  case responseHead
  case responseBytes
  case responseTrailers
  case connection
  case downstream
  case upstream

  static let http: [EnginePhase] = allCases.filter { $0.proto == .http }

  var proto: StreamProtocol {
    switch self {
    case .connection, .downstream, .upstream: .tcp
    default: .http
    }
  }

  var direction: Direction {
    switch self {
    case .requestHead, .requestBytes, .requestTrailers, .connection, .downstream: .request
    case .responseHead, .responseBytes, .responseTrailers, .upstream: .response
    }
  }

  var kind: CallbackKind {
    switch self {
    case .requestHead: .requestHeaders
    case .requestBytes: .requestBody
    case .requestTrailers: .requestTrailers
    case .responseHead: .responseHeaders
    case .responseBytes: .responseBody
    case .responseTrailers: .responseTrailers
    case .connection: .newConnection
    case .downstream: .downstreamData
    case .upstream: .upstreamData
    }
  }

  /// What a plugin exports that has this callback alone.
  var callback: CallbackSet {
    switch self {
    case .requestHead: .requestHeaders
    case .requestBytes: .requestBody
    case .requestTrailers: .requestTrailers
    case .responseHead: .responseHeaders
    case .responseBytes: .responseBody
    case .responseTrailers: .responseTrailers
    case .connection: .newConnection
    case .downstream: .downstreamData
    case .upstream: .upstreamData
    }
  }

  /// The callback by which a plugin meets the stream before; nil where this one is the first that there can be.
  var meeting: CallbackSet? {
    switch self {
    case .requestHead, .connection: nil
    case .requestBytes, .requestTrailers, .responseHead, .responseBytes, .responseTrailers: .requestHeaders
    case .downstream, .upstream: .newConnection
    }
  }

  var isBytes: Bool {
    switch self {
    case .requestBytes, .responseBytes, .downstream, .upstream: true
    default: false
    }
  }

  /// The head of the response has left by then, so that nothing can take its place.
  var isBehindResponse: Bool { self == .responseBytes || self == .responseTrailers || proto == .tcp }
}

extension EngineSink {
  static let requestText = "abc"
  static let responseText = "defg"

  /// Sends all of one direction.
  func send(_ direction: Direction) {
    let text = direction == .request ? Self.requestText : Self.responseText
    if stream.proto == .http, direction == .response { respond([("b", "2")]) }
    put(text, direction)
    putEnd(direction, stream.proto == .http ? [("x-\(direction)", "1")] : [])
  }

  /// Begins, and sends what the client sends before that phase's callback; `answer` sends the rest.
  func come(to phase: EnginePhase) {
    begin()
    start([("a", "1")])
    if phase.proto == .http || phase.direction == .request { send(.request) }
  }

  /// What the upstream sends for that phase's callback, where it is about that.
  func answer(for phase: EnginePhase) {
    guard phase.direction == .response, isOpen, !stream[.response].hasEnded else { return }
    if phase.proto == .tcp || (mayRespond && upstream.hasEnded) { send(.response) }
  }

  /// Sends what is still to come.
  func sendRest() {
    for direction in FilterStream.directions where isOpen && !stream[direction].hasEnded { send(direction) }
  }

  /// Both sides have all that the other one has sent.
  var isComplete: Bool {
    var upstream = Side(bytes: Array(Self.requestText.utf8), hasEnded: true)
    var client = Side(bytes: Array(Self.responseText.utf8), hasEnded: true)
    upstream.head = []
    client.head = []
    if stream.proto == .http {
      upstream.head = [":method=POST", ":path=/", "a=1"]
      client.head = [":status=200", "b=2"]
      upstream.trailers = ["x-request=1"]
      client.trailers = ["x-response=1"]
    }
    return self.upstream == upstream && self.client == client && stops.isEmpty && !isReset && ends == 1
  }
}
