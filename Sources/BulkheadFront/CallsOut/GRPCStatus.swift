/// The statuses of gRPC that the front itself gives a call.
enum GRPCStatus {
  static let ok: UInt32 = 0
  static let unknown: UInt32 = 2
  static let deadlineExceeded: UInt32 = 4
  static let resourceExhausted: UInt32 = 8
  static let unimplemented: UInt32 = 12
  static let `internal`: UInt32 = 13
  static let unavailable: UInt32 = 14

  /// `grpc-status` among headers or trailers; nil where there is none, `unknown` where it is no status.
  static func find(in headers: CallHeaders) -> UInt32? {
    guard let text = headers.first(where: { $0.name == "grpc-status" })?.value else { return nil }
    guard let status = UInt32(text), status <= 16 else { return unknown }
    return status
  }

  /// `grpc-message` as it came, as Envoy hands it on: in percent-encoding.
  static func message(in headers: CallHeaders) -> String {
    headers.first { $0.name == "grpc-message" }?.value ?? ""
  }

  /// What a status of HTTP other than 200 means (gRPC, "HTTP to gRPC Status Code Mapping").
  static func fromHTTP(_ status: String) -> UInt32 {
    switch status {
    case "400": `internal`
    case "401": 16
    case "403": 7
    case "404": unimplemented
    case "429", "502", "503", "504": unavailable
    default: unknown
    }
  }
}
