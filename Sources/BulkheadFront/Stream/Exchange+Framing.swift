import BulkheadChain
import BulkheadCore
import BulkheadSystem
import NIOCore

// How a message ends on the wire where plugins may have changed its body: settled as its head leaves.
extension Exchange {
  /// Settles how the request's body ends, as its head is about to leave.
  func settleRequestFraming() {
    guard requestFraming != .none, changesBody(.request) || request.lengthWasRemoved else { return }
    let wasOpen = requestFraming == .open
    if requestIsWhole {
      let size = UInt64(requestQueue.byteCount)
      if wasOpen || !requestTrailers.isEmpty {
        requestFraming = .open
        request.removeAll { $0.name == .contentLength }
      } else {
        requestFraming = size == 0 ? .none : .length(size)
        request.set(.contentLength, "content-length", size)
      }
    } else if request.lengthWasRemoved || stream.request.hasChangedLength || stream.request.hasTrailers {
      requestFraming = .open
      request.removeAll { $0.name == .contentLength }
    }
  }

  /// Settles how the response's body ends, as its head is about to leave.
  func settleResponseFraming() {
    guard responseFraming != .none, changesBody(.response) || response.lengthWasRemoved else { return }
    // Where the end is open, it stays so.
    guard case .length = responseFraming else { return }
    if responseIsWhole {
      let size = UInt64(responseQueue.byteCount)
      if !responseTrailers.isEmpty, connection.takesTrailers {
        responseFraming = .open
        response.removeAll { $0.name == .contentLength }
      } else {
        responseFraming = size == 0 ? .none : .length(size)
        response.set(.contentLength, "content-length", size)
      }
    } else if response.lengthWasRemoved || stream.response.hasChangedLength || stream.response.hasTrailers {
      responseFraming = .open
      response.removeAll { $0.name == .contentLength }
    }
  }

  /// Whether plugins are told of the body, and so may change it.
  func changesBody(_ direction: Direction) -> Bool { !stream[direction].stages.isEmpty }

  /// Whether what is about to be sent is as long as the head said that went before it.
  func keepsRequestLength(_ isWhole: Bool) -> Bool {
    attempt.sentBytes &+= UInt64(requestQueue.byteCount)
    guard case .length(let length) = requestFraming else { return true }
    return keeps(length, sent: attempt.sentBytes, isWhole: isWhole, "request")
  }

  /// The same for the response.
  func keepsResponseLength(_ isWhole: Bool) -> Bool {
    guard case .length(let length) = responseFraming else { return true }
    return keeps(length, sent: record.bytesOut &+ UInt64(responseQueue.byteCount), isWhole: isWhole, "response")
  }

  private func keeps(_ length: UInt64, sent: UInt64, isWhole: Bool, _ what: StaticString) -> Bool {
    if isWhole ? sent == length : sent <= length { return true }
    if let suppressed = loop.engine.failureLines.admit(now: Clock.monotonicNanoseconds) {
      loop.log.write(
        .warn, request: requestID,
        "the stream is reset: a plugin changed the length of the \(what)'s body after its head had left with "
          + "content-length \(length); a plugin that does so must remove content-length in its headers callback"
          + FrontLog.note(suppressed: suppressed))
    }
    record.note("body_length_changed")
    return false
  }

  /// Says that trailers have no place in this message.
  func dropsTrailers(_ what: StaticString) {
    guard let suppressed = loop.engine.failureLines.admit(now: Clock.monotonicNanoseconds) else { return }
    loop.log.write(
      .warn, request: requestID,
      "the trailers of a \(what) are left out: its head had left with content-length, or its reader knows no chunks"
        + FrontLog.note(suppressed: suppressed))
  }
}

extension HeaderMap {
  /// Sets the one value of a name that the front knows to a number.
  func set(_ name: HeaderName, _ key: StaticString, _ number: UInt64) {
    var text = String(number)
    text.withUTF8 { set(name, key, UnsafeRawBufferPointer($0)) }
  }
}
