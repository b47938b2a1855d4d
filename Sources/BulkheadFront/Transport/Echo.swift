import BulkheadWire
import NIOCore

// The embedded upstream: answers with what it received, as JSON.
extension Exchange {
  /// The most of a body that is repeated.
  static let echoedBody = 64 << 10

  func beginEcho() {
    requestSent = false
    deadline = 0
    if requestIsWhole {
      pumpEcho()
    } else {
      if expectsContinue { connection.sendContinue() }
      expectsContinue = false
      deadline = startedMonotonic &+ loop.settings.idle
      if stream.hasRoom(.request) { connection.resumeReads() }
      pumpEcho()
    }
  }

  /// Takes what came of the body; answers at its end.
  func pumpEcho() {
    while var piece = requestQueue.popFirst() {
      echoBytes &+= UInt64(piece.readableBytes)
      if echoBody.readableBytes < Self.echoedBody {
        var part = piece.readSlice(length: min(piece.readableBytes, Self.echoedBody - echoBody.readableBytes)) ?? piece
        echoBody.writeBuffer(&part)
      }
    }
    guard requestIsWhole else {
      if stream.hasRoom(.request) {
        madeOfRequest.settle()
        connection.resumeReads()
      }
      stream.sinkTakesAgain(.request)
      return
    }
    connection.resumeReads()
    requestSent = true
    settleRequestFraming()
    var json = JSONText()
    json.raw("{\n  \"listener\": ")
    json.string(connection.listenerName)
    json.raw(",\n  \"method\": ")
    json.string(request.value(of: .method))
    json.raw(",\n  \"path\": ")
    json.string(request.value(of: .path))
    json.raw(",\n  \"authority\": ")
    json.string(request.value(of: .authority))
    json.raw(",\n  \"headers\": {")
    json.headers(request)
    json.raw("},\n  \"body\": {\"size\": \(echoBytes), \"text\": ")
    echoBody.withUnsafeReadableBytes { json.string($0) }
    json.raw("}")
    if !requestTrailers.isEmpty {
      json.raw(",\n  \"trailers\": {")
      for (index, trailer) in requestTrailers.enumerated() {
        json.raw(index == 0 ? "\n    " : ",\n    ")
        json.string(trailer.name)
        json.raw(": ")
        trailer.value.withUnsafeBytes { json.string($0) }
      }
      json.raw("\n  }")
    }
    json.raw("\n}\n")
    echoBody.clear()
    echoBytes = 0
    beginAnswer(status: 200)
    details = "via_upstream"
    response.append("content-type", "application/json" as StaticString)
    finishAnswer(ByteBuffer(bytes: json.bytes), from: lastPlace)
  }
}
