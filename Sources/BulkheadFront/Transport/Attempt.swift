/// How far a request has come on its way to the upstream. A fresh value for each request, and for each that is sent anew.
struct Attempt {
  enum State {
    /// It is not on its way, or has its whole response.
    case none
    /// It waits for a connection, since there may be no more of them.
    case waiting
    case connecting(any UpstreamTransport)
    case open(any UpstreamTransport)
  }

  var state = State.none
  var headSent = false
  /// The whole request has left.
  var sent = false
  /// It was sent once before, by a connection that was stale.
  var isSecond = false
  /// The endpoint that a plugin chose; -1 for none.
  var chosenEndpoint = -1
  /// Since when it is on its way, connecting included: CLOCK_MONOTONIC, ns; 0 where it is not, or has its answer.
  var since: UInt64 = 0
  /// Who the request went to.
  var peer: UpstreamPeer?
  /// Why the upstream could not be had; "" while it could.
  var failure = ""
  /// Bytes of the body that have left; counted where plugins may have changed it.
  var sentBytes: UInt64 = 0

  /// What carries the request, once it is there.
  var transport: (any UpstreamTransport)? {
    if case .open(let transport) = state { transport } else { nil }
  }

  var isWaiting: Bool { if case .waiting = state { true } else { false } }

  /// It waits for a connection, or for one to be made, or is on one.
  var isUnderWay: Bool { if case .none = state { false } else { true } }

  /// The same request from the start.
  var again: Attempt {
    var attempt = Attempt()
    attempt.isSecond = true
    attempt.chosenEndpoint = chosenEndpoint
    attempt.since = since
    attempt.peer = peer
    return attempt
  }
}
