import BulkheadWire

extension PairsView {
  /// Calls `body` with each name and value, in order; they are borrowed.
  @inline(__always)
  func visit(_ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Void) { forEach(body) }
}
