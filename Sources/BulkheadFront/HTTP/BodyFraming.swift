import BulkheadChain

/// What is known of a message's body by its head. How its end is said on the wire is the codec's matter.
enum BodyFraming: Equatable {
  case none
  case length(UInt64)
  /// Its end is known when it comes; trailers may come behind it.
  case open
}

/// How the end of a body is said in HTTP/1.1 (RFC 9112, 6).
enum HTTP1Framing: Equatable {
  case none
  case length(UInt64)
  case chunked
  /// It ends with the connection.
  case untilClose

  var body: BodyFraming {
    switch self {
    case .none: .none
    case .length(let count): .length(count)
    case .chunked, .untilClose: .open
    }
  }

  /// - Parameter knowsChunks: whether the reader knows chunks: one of HTTP/1.0 does not.
  init(_ framing: BodyFraming, knowsChunks: Bool = true) {
    self =
      switch framing {
      case .none: .none
      case .length(let count): .length(count)
      case .open: knowsChunks ? .chunked : .untilClose
      }
  }
}

/// The head of a message as a codec sends it.
struct MessageHead {
  let fields: HeaderMap
  let framing: BodyFraming
}
