import NIOCore

/// What is at one end of a TCP connection through the front: a socket, or the embedded echo. One event loop.
protocol TCPPeer: AnyObject {
  var isWritable: Bool { get }
  /// Open, in at least one direction.
  var isOpen: Bool { get }
  /// The peer sends nothing more.
  var inputEnded: Bool { get }
  /// This side sends nothing more: the end was written behind what is buffered.
  var outputEnded: Bool { get }
  /// Why the connection broke, for people; empty where it did not.
  var failure: String { get }
  func write(_ bytes: ByteBuffer)
  func flush()
  /// Passes the end on, behind what was written.
  func endOutput()
  /// Closes once all that was written has left; what still comes is thrown away.
  func closeGently(whenWritten: @escaping () -> Void)
  /// Closes now.
  func close()
  func suspendReads()
  func resumeReads()
}
