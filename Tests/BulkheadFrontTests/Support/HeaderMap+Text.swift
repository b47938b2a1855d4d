@testable import BulkheadChain
@testable import BulkheadFront

extension HeaderMap {
  @discardableResult
  func appendParsed(_ key: String, _ value: String) -> HeaderName {
    Array(key.utf8).withUnsafeBytes { key in Array(value.utf8).withUnsafeBytes { appendParsed(key, $0) } }
  }
}
