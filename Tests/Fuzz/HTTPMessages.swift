import BulkheadCore
import BulkheadWire
import NIOCore

@testable import BulkheadChain
@testable import BulkheadFront

/// The head of a message as it comes: whole, or in pieces. In which pieces must make no difference.
enum HTTPMessages {
  private enum Outcome: Equatable {
    case more
    /// The head's end, and what it says, a line each.
    case head(Int, [[UInt8]])
    case fault
  }

  static func request(_ input: UnsafeRawBufferPointer) { check(input, of: .request) }
  static func response(_ input: UnsafeRawBufferPointer) { check(input, of: .response) }

  private static func check(_ input: UnsafeRawBufferPointer, of kind: HeadPrefix.Kind) {
    // The first byte says how long the pieces are.
    guard let first = input.first else { return }
    let bytes = UnsafeRawBufferPointer(rebasing: input.dropFirst())
    let whole = read(bytes, step: bytes.count, of: kind)
    let pieces = read(bytes, step: 1 + Int(first % 31), of: kind)
    hold(whole == pieces, "a head reads differently in pieces")
    if case .head(let end, let lines) = whole { checkWritten(end, lines, of: kind) }
  }

  private static func read(_ bytes: UnsafeRawBufferPointer, step: Int, of kind: HeadPrefix.Kind) -> Outcome {
    var (searched, there) = (0, 0)
    while true {
      there = min(there + max(step, 1), bytes.count)
      let seen = UnsafeRawBufferPointer(rebasing: bytes[..<there])
      do throws(HTTPFault) {
        if let end = try HeadParser.end(of: seen, from: searched) {
          return .head(end, try lines(UnsafeRawBufferPointer(rebasing: seen[..<end]), of: kind))
        }
        try HeadPrefix.check(seen, from: searched, of: kind)
      } catch { return .fault }
      searched = there
      if there == bytes.count { return .more }
    }
  }

  private static func lines(
    _ head: UnsafeRawBufferPointer, of kind: HeadPrefix.Kind
  ) throws(HTTPFault) -> [[UInt8]] {
    var lines: [[UInt8]] = []
    let fields: Int
    switch kind {
    case .request:
      let line = try HeadParser.requestLine(head)
      hold(RequestGrammar.isTarget(line.target), "a target is none")
      lines = [[UInt8](line.method), [UInt8](line.target)]
      fields = line.fields
    case .response:
      let line = try HeadParser.statusLine(head)
      hold((100...599).contains(line.status), "a status is none")
      lines = [Array(String(line.status).utf8)]
      fields = line.fields
    }
    let map = HeaderMap()
    try HeadParser.fields(head, from: fields, limit: 1_000) { name, value in
      hold(HeaderRules.isName(name) && HeaderRules.isValue(value), "a field is none")
      _ = map.appendParsed(name, value)
    }
    for entry in map.entries { lines += [[UInt8](map.key(entry)), [UInt8](map.value(entry))] }
    guard let view = try? PairsView(map.serialized()) else {
      hold(false, "a map is no block of pairs")
      return lines
    }
    hold(view.count == map.entries.count, "a block has other pairs than its map")
    map.removeHopByHop()
    return lines
  }

  /// What is written of a head reads as the same fields again.
  private static func checkWritten(_ end: Int, _ lines: [[UInt8]], of kind: HeadPrefix.Kind) {
    let first = kind == .request ? 2 : 1
    let map = HeaderMap()
    for index in stride(from: first, to: lines.count - 1, by: 2) {
      lines[index].withUnsafeBytes { name in
        lines[index + 1].withUnsafeBytes { map.append(name, $0, name: .other) }
      }
    }
    var out = ByteBuffer()
    HeadCursor.write(map, into: &out) { head in
      head.put(kind == .request ? "GET / HTTP/1.1\r\n" : "HTTP/1.1 200 OK\r\n")
      for entry in map.entries { head.put(map.key(entry), map.value(entry)) }
      head.put("\r\n")
    }
    out.withUnsafeReadableBytes { bytes in
      guard case .head(let length, let again) = read(bytes, step: bytes.count, of: kind) else {
        return hold(false, "what was written of a head is none")
      }
      hold(length == bytes.count && again.dropFirst(first) == lines.dropFirst(first), "fields change when written")
    }
  }
}

/// A body behind its head, whole or in pieces.
enum HTTPBodies {
  private struct Outcome: Equatable {
    var data: [UInt8] = []
    var trailers: [String] = []
    var left: [UInt8] = []
    var end: End = .more

    enum End: Equatable {
      case more, done, fault
    }
  }

  static func check(_ input: UnsafeRawBufferPointer) {
    guard input.count >= 2 else { return }
    let bytes = UnsafeRawBufferPointer(rebasing: input.dropFirst(2))
    let framing: HTTP1Framing =
      switch input[0] % 4 {
      case 0: .length(UInt64(input[1]))
      case 1: .untilClose
      default: .chunked
      }
    let isOfUpstream = input[0] & 0x80 != 0
    let whole = read(bytes, framing, isOfUpstream, step: max(bytes.count, 1))
    let pieces = read(bytes, framing, isOfUpstream, step: 1 + Int(input[1] % 17))
    hold(whole == pieces, "a body reads differently in pieces")
    hold(whole.data.count <= bytes.count, "a body has bytes that nobody sent")
    if whole.end == .done { checkWritten(whole, isOfUpstream) }
  }

  private static func read(
    _ bytes: UnsafeRawBufferPointer, _ framing: HTTP1Framing, _ isOfUpstream: Bool, step: Int
  ) -> Outcome {
    var decoder = BodyDecoder(framing, isOfUpstream: isOfUpstream, trailerBytes: 512, trailerCount: 8)
    var outcome = Outcome()
    var buffer = ByteBuffer()
    var at = 0
    while true {
      let next = min(at + step, bytes.count)
      buffer.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[at..<next]))
      at = next
      do throws(HTTPFault) {
        reading: while true {
          switch try decoder.next(&buffer) {
          case .needMore: break reading
          case .data(let piece):
            hold(piece.readableBytes > 0, "a piece of no bytes")
            outcome.data += piece.readableBytesView
          case .end:
            outcome.end = .done
            outcome.trailers = decoder.trailers.map { "\($0.name)=\($0.value)" }
            outcome.left = Array(buffer.readableBytesView) + bytes[at...]
            return outcome
          }
        }
      } catch {
        outcome.end = .fault
        return outcome
      }
      if at == bytes.count { return outcome }
    }
  }

  /// What is written of a body's trailers reads as trailers again.
  private static func checkWritten(_ outcome: Outcome, _ isOfUpstream: Bool) {
    var out = ByteBuffer()
    if !outcome.data.isEmpty {
      MessageWriter.chunkHead(outcome.data.count, into: &out)
      out.writeBytes(outcome.data)
      out.writeString("\r\n")
    }
    MessageWriter.lastChunk([], into: &out)
    out.withUnsafeReadableBytes { bytes in
      let again = read(bytes, .chunked, isOfUpstream, step: bytes.count)
      hold(again.end == .done && again.data == outcome.data && again.left.isEmpty, "a body changes when written")
    }
  }
}
