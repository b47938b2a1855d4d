import BulkheadCore
import BulkheadWire

@testable import BulkheadChain
@testable import BulkheadFront

/// What a worker may send, which its plugin may have taken over.
enum WorkerRecords {
  /// A record of the ring of replies, and its edits done to headers.
  static func reply(_ bytes: UnsafeRawBufferPointer) {
    guard var record = try? ReplyRecord(bytes) else { return }
    switch record.kind {
    case .callbackDone, .streamAction:
      guard let outcome = try? PluginOutcome(&record) else { return }
      var operations = 0
      outcome.forEachOperation { _ in operations += 1 }
      hold(operations == outcome.operationCount, "a checked reply has other operations at the second reading")
      edit(outcome)
    case .hostcall:
      var rest = record.rest
      _ = try? HostcallRequest(&rest)
    case .vmEnded: _ = try? VMEnd(&record)
    case .discarded, .part, .lastPart: break
    }
  }

  private static func edit(_ outcome: PluginOutcome) {
    let request = map([
      (":method", "GET"), (":scheme", "http"), (":authority", "h"), (":path", "/"), ("a", "1"), ("content-length", "4"),
    ])
    let response = map([(":status", "200"), ("server", "x")])
    let trailers = map([("t", "1")])
    var looked = 0
    _ = HeaderEdits.apply(
      outcome,
      to: HeaderEdits.Maps(
        request: request, response: response, requestTrailers: trailers, responseTrailers: map([])),
      maximumBytes: 4_096, looked: &looked)
    for map in [request, response, trailers] {
      for entry in map.entries {
        let (key, value) = (map.key(entry), map.value(entry))
        hold(key.first == 0x3A || HeaderRules.isName(key), "an edit brought a name that is none")
        hold(HeaderRules.isValue(value), "an edit brought a value that ends a line")
      }
      hold((try? PairsView(map.serialized())) != nil, "an edited map is no block of pairs")
    }
    for name in [HeaderName.method, .scheme, .authority, .path] {
      hold(request.value(of: name) != nil, "an edit took a pseudo-header away")
    }
    hold(request.value(of: .path).map { RequestGrammar.isTarget($0) } == true, "an edit made a path that is none")
    hold(response.value(of: .status)?.count == 3, "an edit made a status that is none")
  }

  private static func map(_ pairs: [(StaticString, StaticString)]) -> HeaderMap {
    let map = HeaderMap()
    for (key, value) in pairs { map.append(key, value, name: HeaderName(key.bytes)) }
    return map
  }

  /// The stream of frames that a worker or a compiler reports to the supervisor.
  static func report(_ bytes: UnsafeRawBufferPointer) {
    var (whole, pieces) = (0, 0)
    var all = FrameAssembler(limit: 4_096)
    all.append(bytes)
    while let frame = try? all.next() {
      whole += 1
      _ = frame.encoded()
    }
    var some = FrameAssembler(limit: 4_096)
    reading: for byte in bytes {
      withUnsafeBytes(of: byte) { some.append($0) }
      while true {
        do {
          guard try some.next() != nil else { break }
          pieces += 1
        } catch { break reading }
      }
    }
    hold(whole == pieces, "reports read differently in pieces")
  }

  /// Records and messages that the process on the other side may have been taken over to send.
  static func others(_ input: UnsafeRawBufferPointer) {
    guard let first = input.first else { return }
    let bytes = UnsafeRawBufferPointer(rebasing: input.dropFirst())
    switch first % 8 {
    case 0: _ = try? CallbackRecord(bytes)
    case 1: _ = try? HostcallAnswer(bytes)
    case 2:
      round(try? FrontCommand(bytes)) {
        $0.encoded()
      } again: {
        try? FrontCommand($0)
      }
    case 3:
      round(try? FrontEvent(bytes)) {
        $0.encoded()
      } again: {
        try? FrontEvent($0)
      }
    case 4: _ = try? WorkerBootstrap(bytes)
    case 5: _ = try? FrontBootstrap(bytes)
    case 6: _ = try? CompilerBootstrap(bytes)
    // What another version has left may be anything too.
    default: _ = try? CarriedState(bytes)
    }
  }

  /// What was read says the same when it is written and read again.
  private static func round<Message: Equatable>(
    _ message: Message?, _ encode: (Message) -> [UInt8], again: (UnsafeRawBufferPointer) -> Message?
  ) {
    guard let message else { return }
    encode(message).withUnsafeBytes { hold(again($0) == message, "a message changes when written") }
  }
}
