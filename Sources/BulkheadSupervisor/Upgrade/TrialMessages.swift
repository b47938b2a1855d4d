import BulkheadCore
import BulkheadWire

/// What a supervisor gives the newly installed program for its trial start: its listening sockets, and what is to be as
/// well afterwards as it is now.
struct TrialRequest: Equatable, Sendable {
  /// The descriptors of a program on trial, by number.
  enum Place {
    /// A sealed memfd with the encoded request.
    static let request = ChildDescriptor.bootstrap
    /// SOCK_SEQPACKET to the supervisor that asks: `TrialReport`s.
    static let reports: Int32 = 5
    /// The listening sockets, in the order of the request.
    static let firstListener: Int32 = 6
  }

  static let maximumBytes = 16 << 20
  static let maximumEndpoints = 65_536

  /// Their descriptors are numbers of the program on trial.
  var listeners: [Handover.Listener]
  /// The plugins that are ready now.
  var ready: [String] = []
  /// The endpoints that upstreams have now, `host:port`: they are not tried.
  var endpoints: [String] = []
  /// Where the supervisor that asks listens itself.
  var controlSocket = ""

  /// The same with the numbers that the listeners' descriptors have for the program on trial.
  var renumbered: TrialRequest {
    var request = self
    for index in listeners.indices {
      request.listeners[index].socket = Place.firstListener + Int32(clamping: index)
    }
    return request
  }

  func encoded() -> [UInt8] {
    var writer = WireWriter(capacity: 4_096)
    writer.u32(Handover.format)
    writer.array(listeners) { $1.encode(into: &$0) }
    writer.array(ready) { $0.string($1) }
    writer.array(endpoints) { $0.string($1) }
    writer.string(controlSocket)
    return writer.array
  }

  init(listeners: [Handover.Listener], ready: [String] = [], endpoints: [String] = [], controlSocket: String = "") {
    self.listeners = listeners
    self.ready = ready
    self.endpoints = endpoints
    self.controlSocket = controlSocket
  }

  init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = WireReader(bytes)
    guard try reader.u32("trial.format") == Handover.format else { throw WireError(.unknownValue, "trial.format") }
    listeners = try reader.array("trial.listeners", atMost: Handover.maximumListeners) { reader throws(WireError) in
      try Handover.Listener(&reader)
    }
    ready = try reader.array("trial.ready", atMost: Limits.maximumPlugins) { reader throws(WireError) in
      try reader.string("trial.plugin")
    }
    endpoints = try reader.array("trial.endpoints", atMost: Self.maximumEndpoints) { reader throws(WireError) in
      try reader.string("trial.endpoint")
    }
    controlSocket = try reader.string("trial.controlSocket")
    try reader.end("trial")
  }
}

/// What a program on trial tells the supervisor that asks: one datagram each.
enum TrialReport: Equatable, Sendable {
  /// It runs, and understands what it was given.
  case begun
  /// It has bound this listener, which nobody had bound; the socket comes with it.
  case bound(name: String, host: String, port: UInt16, address: String)
  /// Its front was ready to serve, and so was each plugin that is to be.
  case proven
  /// It does not start: all that is wrong, one fault a line.
  case refused([String])

  /// Longer lines are cut, and more are left out.
  static let maximumLines = 8
  static let maximumLine = 1 << 10

  private enum Kind: UInt8 {
    case begun = 1
    case bound, proven, refused
  }

  func encoded() -> [UInt8] {
    var writer = WireWriter(capacity: 256)
    switch self {
    case .begun: writer.u8(Kind.begun.rawValue)
    case .bound(let name, let host, let port, let address):
      writer.u8(Kind.bound.rawValue)
      writer.string(name)
      writer.string(host)
      writer.u16(port)
      writer.string(address)
    case .proven: writer.u8(Kind.proven.rawValue)
    case .refused(let lines):
      writer.u8(Kind.refused.rawValue)
      writer.array(Array(lines.prefix(Self.maximumLines))) { writer, line in
        // What is cut within a character is repaired, which takes a few bytes more.
        writer.string(String(decoding: line.utf8.prefix(Self.maximumLine - 8), as: UTF8.self))
      }
    }
    return writer.array
  }

  init(_ bytes: UnsafeRawBufferPointer) throws(WireError) {
    var reader = WireReader(bytes)
    guard let kind = Kind(rawValue: try reader.u8("report.kind")) else { throw WireError(.unknownValue, "report.kind") }
    switch kind {
    case .begun: self = .begun
    case .bound:
      self = .bound(
        name: try reader.string("bound.name"), host: try reader.string("bound.host"),
        port: try reader.u16("bound.port"), address: try reader.string("bound.address"))
    case .proven: self = .proven
    case .refused:
      self = .refused(
        try reader.array("refused.lines", atMost: Self.maximumLines) { reader throws(WireError) in
          try reader.string("refused.line", atMost: Self.maximumLine)
        })
    }
    try reader.end("report")
  }
}
