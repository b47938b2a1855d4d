import BulkheadSystem

/// A descriptor with several holders: closed when the last one lets go.
final class SharedDescriptor: Sendable {
  private let descriptor: Descriptor
  var raw: Int32 { descriptor.raw }

  init(_ descriptor: consuming Descriptor) { self.descriptor = descriptor }
}
