import BulkheadCore
import BulkheadWire

/// One of the two ways through a stream: of an HTTP request and its response, or of what the two sides of a TCP connection
/// send.
public enum Direction: Sendable {
  /// From the client to the upstream; Proxy-Wasm calls it `downstream` where it speaks of TCP.
  case request
  /// From the upstream to the client; `upstream` there.
  case response

  var other: Direction { self == .request ? .response : .request }
}

/// What a stream carries, and so which callbacks of its plugins are for it.
public enum StreamProtocol: Sendable {
  /// A request and its response.
  case http
  /// A connection of bytes.
  case tcp

  /// The callback for what stands before all bytes of a direction; nil where nothing does.
  @inline(__always)
  func head(_ direction: Direction) -> CallbackKind? {
    switch (self, direction) {
    case (.http, .request): .requestHeaders
    case (.http, .response): .responseHeaders
    case (.tcp, .request): .newConnection
    case (.tcp, .response): nil
    }
  }

  func bytes(_ direction: Direction) -> CallbackKind {
    switch (self, direction) {
    case (.http, .request): .requestBody
    case (.http, .response): .responseBody
    case (.tcp, .request): .downstreamData
    case (.tcp, .response): .upstreamData
    }
  }

  /// What a plugin exports that is told of the bytes.
  func bytesExport(_ direction: Direction) -> CallbackSet {
    switch (self, direction) {
    case (.http, .request): .requestBody
    case (.http, .response): .responseBody
    case (.tcp, .request): .downstreamData
    case (.tcp, .response): .upstreamData
    }
  }

  /// The flag of a reply by which a plugin lets go of what it holds back.
  func resumption(_ direction: Direction) -> ReplyRecord.Flags {
    switch (self, direction) {
    case (.http, .request): .continueRequest
    case (.http, .response): .continueResponse
    case (.tcp, .request): .continueDownstream
    case (.tcp, .response): .continueUpstream
    }
  }

  /// The flags of a reply by which a plugin ends the stream.
  var closes: ReplyRecord.Flags {
    switch self {
    case .http: .closeStream
    case .tcp: [.closeStream, .closeDownstream, .closeUpstream]
    }
  }

  /// The direction of the bytes that a plugin edits in that buffer; nil where a stream of this protocol has no such one.
  func direction(of buffer: EditedBuffer) -> Direction? {
    switch (self, buffer) {
    case (.http, .requestBody), (.tcp, .downstreamData): .request
    case (.http, .responseBody), (.tcp, .upstreamData): .response
    default: nil
    }
  }
}

extension CallbackKind {
  /// The direction that it is about, and which part of it; nil for what belongs to none.
  @inline(__always)
  var part: (direction: Direction, isHead: Bool)? {
    switch self {
    case .requestHeaders, .newConnection: (.request, true)
    case .responseHeaders: (.response, true)
    case .requestBody, .requestTrailers, .downstreamData: (.request, false)
    case .responseBody, .responseTrailers, .upstreamData: (.response, false)
    default: nil
    }
  }
}
