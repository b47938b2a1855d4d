import BulkheadChain
import NIOCore

/// What a client's codec does for one stream: its request comes by it, its response leaves by it.
///
/// Only classes conform, so that a reference is a pointer and a table: nothing is boxed. One event loop.
protocol ClientStream: AnyObject {
  // Who asks
  var listener: Int { get }
  var listenerName: String { get }
  /// As fingerprints have the client: `ClientNumber`.
  var clientNumber: UInt64 { get }
  func withClientAddress(_ body: (UnsafeRawBufferPointer) -> Void)
  /// Where the client connected to, as `ip:port`; empty where that is not known.
  var localAddress: [UInt8] { get }
  /// As the property `request.protocol` has it.
  var protocolName: StaticString { get }
  /// The connection's properties as serialized pairs.
  func properties() -> UnsafeRawBufferPointer

  // The request
  /// A round of reading is under way; it ends with `requestReadComplete`.
  var isReading: Bool { get }
  /// The client sends the body once it is told to.
  var awaitsContinue: Bool { get }
  /// Tells it, where it waits.
  func continueRequest()
  func suspendReads()
  func resumeReads()
  /// What is left of the request is not wanted: the response is the last thing that the client gets of this connection,
  /// where what it still sends cannot be told from a next request.
  func giveUpRequest()

  // The response
  var isWritable: Bool { get }
  /// What was written last still waits for the kernel to take it.
  var isBehind: Bool { get }
  /// Trailers can follow a body whose end is open.
  var takesTrailers: Bool { get }
  /// Sends what there is of the response.
  ///
  /// - Parameters:
  ///   - head: nil where it has left before.
  ///   - body: all of it is taken.
  ///   - end: the trailers where this is the last of the response; nil where more is to come.
  func send(_ head: MessageHead?, _ body: inout ByteQueue, end: Trailers?)
  /// Sends a response of 1xx, where the client knows such and takes what it is sent.
  func sendInterim(_ fields: HeaderMap)
  /// The stream is over.
  func streamHasEnded()
  /// The stream is over and its response has left as a whole: the next request may come.
  ///
  /// - Parameter now: CLOCK_MONOTONIC, ns.
  func responseIsSent(now: UInt64)
  /// Ends without a whole response.
  func reset()
}
