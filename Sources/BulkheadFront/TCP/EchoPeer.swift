import BulkheadChain
import NIOCore

/// The embedded upstream of a TCP listener: sends back what it gets, as fast as that is taken.
final class EchoPeer: TCPPeer {
  private unowned let stream: TCPStream
  private var gate = ReadGate()
  private(set) var isOpen = true
  private(set) var inputEnded = false
  private(set) var outputEnded = false
  var failure: String { "" }

  /// - Parameter stream: it keeps this object.
  init(_ stream: TCPStream) { self.stream = stream }

  var isWritable: Bool { isOpen && !gate.isClosed }

  func write(_ bytes: ByteBuffer) {
    guard isOpen, !outputEnded else { return }
    stream.received(bytes, from: .upstream)
    stream.bytesCame()
  }

  func flush() {}

  func endOutput() {
    guard isOpen, !outputEnded else { return }
    outputEnded = true
    inputEnded = true
    isOpen = false
    stream.inputEnded(of: .upstream)
  }

  func closeGently(whenWritten: @escaping () -> Void) {
    isOpen = false
    whenWritten()
  }

  func close() { isOpen = false }

  func suspendReads() { gate.close() }

  func resumeReads() {
    guard gate.isClosed else { return }
    _ = gate.open()
    // It takes bytes again.
    stream.bytesCame()
  }
}
