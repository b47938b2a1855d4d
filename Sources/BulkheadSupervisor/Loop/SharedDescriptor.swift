import BulkheadSystem

/// A descriptor with several holders: closed when the last one lets go.
final class SharedDescriptor: Sendable {
  private let descriptor: Descriptor
  var raw: Int32 { descriptor.raw }

  init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }

  /// Reads at an offset: how many bytes came.
  ///
  /// - Throws: `SystemError` where it cannot be read there.
  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(SystemError) -> Int {
    try descriptor.read(into: buffer, at: offset)
  }

  /// Writes at an offset: how many bytes were taken.
  ///
  /// - Throws: `SystemError` where it cannot be written there.
  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(SystemError) -> Int {
    try descriptor.write(bytes, at: offset)
  }
}
