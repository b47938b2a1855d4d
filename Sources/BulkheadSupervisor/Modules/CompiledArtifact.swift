import BulkheadCore
import BulkheadPolicy
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

  /// Whether the plugin may ask for something of an HTTP stream after it has let the request's headers pass: by one of the
  /// stream's later callbacks, by the answer to a call that it made for the stream, or from any callback at all by naming
  /// the stream.
  func keepsStreams(under policy: CrashPolicy) -> Bool {
    let later: CallbackSet = [
      .requestBody, .requestTrailers, .responseHeaders, .responseBody, .responseTrailers, .done, .log, .delete,
      .httpCallResponse, .grpcInitialMetadata, .grpcMessage, .grpcTrailingMetadata, .grpcClose,
    ]
    let called = policy.capabilities.map { callbacks.intersection(CallbackSet(exports: $0)) } ?? callbacks
    let mayName = policy.allows("proxy_set_effective_context", imports: metadata.imports)
    return mayName || !called.isDisjoint(with: later)
  }
}
