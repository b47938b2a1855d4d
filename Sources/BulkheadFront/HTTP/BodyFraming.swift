/// Where a body ends.
enum BodyFraming: Equatable {
  case none
  case length(UInt64)
  case chunked
  /// It ends with the connection.
  case untilClose
}
