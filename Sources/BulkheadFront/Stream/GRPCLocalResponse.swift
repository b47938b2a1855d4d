import BulkheadChain
import BulkheadCore

/// How a local response looks to a gRPC client: Envoy sends no body but the status and the message as headers, under 200,
/// since a gRPC client reads nothing else.
enum GRPCLocalResponse {
  /// Whether the request is one: its content-type is `application/grpc`, or that and a kind of message behind a plus.
  static func isWanted(_ request: HeaderMap) -> Bool {
    guard let entry = request.entries.first(where: { request.key($0).equals("content-type") }) else { return false }
    let type = request.value(entry)
    let wanted: StaticString = "application/grpc"
    let length = wanted.utf8CodeUnitCount
    guard type.count >= length, UnsafeRawBufferPointer(rebasing: type[..<length]).equals(wanted) else { return false }
    return type.count == length || type[length] == UInt8(ascii: "+")
  }

  /// The status of gRPC that stands for one of HTTP, as gRPC's own mapping has it.
  static func status(_ http: UInt32) -> Int32 {
    switch http {
    case 400: 13
    case 401: 16
    case 403: 7
    case 404: 12
    case 429, 502, 503, 504: 14
    default: 2
    }
  }

  /// A message as `grpc-message` carries it: what is no visible ASCII, and the percent sign, stand as `%XX`.
  static func message(_ body: UnsafeRawBufferPointer) -> [UInt8] {
    let digits: StaticString = "0123456789ABCDEF"
    var text: [UInt8] = []
    text.reserveCapacity(body.count)
    // Longer than any reason, and shorter than any bound of a header.
    for byte in body.prefix(maximumMessageBytes) {
      if byte >= 0x20, byte <= 0x7e, byte != UInt8(ascii: "%") {
        text.append(byte)
      } else {
        text.append(UInt8(ascii: "%"))
        text.append(digits.utf8Start[Int(byte >> 4)])
        text.append(digits.utf8Start[Int(byte & 15)])
      }
    }
    return text
  }

  static let maximumMessageBytes = 4096
}
