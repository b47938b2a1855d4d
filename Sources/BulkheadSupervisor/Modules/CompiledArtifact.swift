import BulkheadCore
import BulkheadWire

/// A compiled module that workers are given: the bytes were checked against the digest that vouches for them.
final class CompiledArtifact: Sendable {
  /// Open for reading only, or sealed against writing.
  let descriptor: SharedDescriptor
  let metadata: ReportFrame.CompiledModule

  init(descriptor: SharedDescriptor, metadata: ReportFrame.CompiledModule) {
    self.descriptor = descriptor
    self.metadata = metadata
  }

  /// The callbacks that it exports.
  var callbacks: CallbackSet { CallbackSet(exports: metadata.exports) }
}
