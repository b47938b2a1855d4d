import BulkheadWire
import NIOCore

// The embedded upstream: answers with what it received, as JSON.
extension Exchange {
  /// The most of a body that is repeated.
  static let echoedBody = 64 << 10

  func beginEcho() {
    requestSent = false
    deadline = 0
    if requestFraming == .none || requestEnded {
      pumpEcho()
    } else {
      if expectsContinue { connection.sendContinue() }
      expectsContinue = false
      deadline = startedMonotonic &+ loop.settings.idle
      connection.resumeReads()
      pumpEcho()
    }
  }

  /// Takes what came of the body; answers at its end.
  func pumpEcho() {
    while var piece = requestQueue.popFirst() {
      if echoBody.readableBytes < Self.echoedBody {
        var part = piece.readSlice(length: min(piece.readableBytes, Self.echoedBody - echoBody.readableBytes)) ?? piece
        echoBody.writeBuffer(&part)
      }
    }
    connection.resumeReads()
    guard requestFraming == .none || requestEnded else { return }
    requestSent = true
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
    writeHeaders(into: &json)
    json.raw("},\n  \"body\": {\"size\": \(requestBodyBytes), \"text\": ")
    echoBody.withUnsafeReadableBytes { json.string($0) }
    json.raw("}\n}\n")
    echoBody.clear()
    beginAnswer(status: 200)
    details = "via_upstream"
    response.append("content-type", "application/json" as StaticString)
    finishAnswer(ByteBuffer(bytes: json.bytes), from: plugins.count - 1)
  }

  /// Several values of a name are joined, as JSON has each key once.
  private func writeHeaders(into json: inout JSONText) {
    let entries = request.entries
    var isFirst = true
    for (index, entry) in entries.enumerated() where !entry.name.isPseudo {
      let key = request.key(entry)
      if entries[..<index].contains(where: { request.key($0).equals(key) }) { continue }
      json.raw(isFirst ? "\n    " : ",\n    ")
      isFirst = false
      json.string(key)
      json.raw(": ")
      var value = [UInt8](request.value(entry))
      for other in entries[(index + 1)...] where request.key(other).equals(key) {
        value.append(contentsOf: [UInt8(ascii: ","), 0x20])
        value.append(contentsOf: request.value(other))
      }
      value.withUnsafeBytes { json.string($0) }
    }
    if !isFirst { json.raw("\n  ") }
  }
}

/// Writes JSON.
struct JSONText {
  private(set) var bytes: [UInt8] = []

  /// Begins anew, in the memory that it has.
  mutating func clear() { bytes.removeAll(keepingCapacity: true) }

  mutating func raw(_ text: String) { bytes.append(contentsOf: text.utf8) }

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
