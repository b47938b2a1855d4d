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
      if hasRoom(requestWalk) { connection.resumeReads() }
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
      if hasRoom(requestWalk) {
        madeOfRequest.settle()
        connection.resumeReads()
      }
      unblock(requestWalk)
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
    finishAnswer(ByteBuffer(bytes: json.bytes), from: plugins.count - 1)
  }
}

/// Writes JSON.
struct JSONText {
  private(set) var bytes: [UInt8] = []

  /// Begins anew, in the memory that it has.
  mutating func clear() { bytes.removeAll(keepingCapacity: true) }

  mutating func raw(_ text: String) { bytes.append(contentsOf: text.utf8) }

  mutating func raw(_ text: UnsafeRawBufferPointer) { bytes.append(contentsOf: text) }

  /// The members of an object that shows a map's headers: several values of a name are joined, as JSON has each key once.
  mutating func headers(_ map: HeaderMap) {
    let entries = map.entries
    var isFirst = true
    for (index, entry) in entries.enumerated() where !entry.name.isPseudo {
      let key = map.key(entry)
      if entries[..<index].contains(where: { map.key($0).equals(key) }) { continue }
      raw(isFirst ? "\n    " : ",\n    ")
      isFirst = false
      string(key)
      raw(": ")
      var value = [UInt8](map.value(entry))
      let separator = key.equals("cookie") ? UInt8(ascii: ";") : UInt8(ascii: ",")
      for other in entries[(index + 1)...] where map.key(other).equals(key) {
        value.append(contentsOf: [separator, 0x20])
        value.append(contentsOf: map.value(other))
      }
      value.withUnsafeBytes { string($0) }
    }
    if !isFirst { raw("\n  ") }
  }

  mutating func string(_ text: String) {
    var copy = text
    copy.withUTF8 { string(UnsafeRawBufferPointer($0)) }
  }

  /// A string; bytes that are no UTF-8 become the replacement character.
  mutating func string(_ text: UnsafeRawBufferPointer?) {
    bytes.append(UInt8(ascii: "\""))
    let repaired = text.map { String(decoding: $0, as: UTF8.self) } ?? ""
    for byte in repaired.utf8 {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        bytes.append(UInt8(ascii: "\\"))
        bytes.append(byte)
      case 0x0A: bytes.append(contentsOf: [UInt8(ascii: "\\"), UInt8(ascii: "n")])
      case 0x0D: bytes.append(contentsOf: [UInt8(ascii: "\\"), UInt8(ascii: "r")])
      case 0x09: bytes.append(contentsOf: [UInt8(ascii: "\\"), UInt8(ascii: "t")])
      case 0..<0x20, 0x7F:
        let digits = Array("0123456789abcdef".utf8)
        bytes.append(contentsOf: Array("\\u00".utf8))
        bytes.append(digits[Int(byte >> 4)])
        bytes.append(digits[Int(byte & 15)])
      default: bytes.append(byte)
      }
    }
    bytes.append(UInt8(ascii: "\""))
  }
}
