import BulkheadCore
import BulkheadWire

/// How long the callbacks of one plugin may run, by their class: ns.
struct CallbackDeadlines: Equatable, Sendable {
  let headers: UInt64
  let body: UInt64
  let log: UInt64
  let tick: UInt64
  let shortest: UInt64
  let longest: UInt64

  init(headers: UInt64, body: UInt64, log: UInt64, tick: UInt64) {
    self.headers = headers
    self.body = body
    self.log = log
    self.tick = tick
    shortest = min(headers, body, log, tick)
    longest = max(headers, body, log, tick)
  }

  /// One for all.
  init(_ all: UInt64) { self.init(headers: all, body: all, log: all, tick: all) }

  init(_ plugin: FrontBootstrap.Plugin) {
    func time(_ milliseconds: UInt32) -> UInt64 {
      UInt64(max(milliseconds > 0 ? milliseconds : plugin.callbackDeadline, 1)) &* 1_000_000
    }
    let own = plugin.deadlines
    self.init(headers: time(own.headers), body: time(own.body), log: time(own.log), tick: time(own.tick))
  }

  var areAlike: Bool { shortest == longest }

  @inline(__always)
  subscript(kind: CallbackKind) -> UInt64 {
    switch kind.deadlineClass {
    case .headers: headers
    case .body: body
    case .log: log
    case .tick, .configure: tick
    }
  }

  /// After what time to look again at a ledger whose first record is of that kind. Behind one that nobody answers may
  /// stand another that has begun meanwhile, unseen, and has less time.
  @inline(__always)
  func look(_ kind: CallbackKind) -> UInt64 { kind == .streamDone ? shortest : self[kind] }
}
