import BulkheadChain
import NIOCore

/// The way of one request to an upstream, and of its response back. One event loop.
///
/// Only classes conform, so that a reference is a pointer and a table: nothing is boxed.
protocol UpstreamTransport: AnyObject {
  /// Who is at the other end; nil where that is nobody.
  var peer: UpstreamPeer? { get }
  var isWritable: Bool { get }
  /// What was written last still waits for the kernel to take it.
  var isBehind: Bool { get }
  /// A round of reading is under way; it ends with `responseReadComplete`.
  var isReading: Bool { get }
  /// Sends what there is of the request.
  ///
  /// - Parameters:
  ///   - head: nil where it has left before.
  ///   - body: all of it is taken.
  ///   - end: the trailers where this is the last of the request; nil where more is to come. They leave only behind a body
  ///     whose end is open.
  func send(_ head: MessageHead?, _ body: inout ByteQueue, end: Trailers?)
  /// Calls `done` once all that was sent so far has left, or never will.
  func whenTaken(_ done: @escaping () -> Void)
  func suspendReads()
  func resumeReads()
  /// The receiver has no use for the rest, and hears nothing more.
  func abandon()
}

/// Who a response is for, told by its transport. A response is one `responseHead`, pieces and one `responseEnd`; or
/// `upstreamBroke` at any point. After either of the two the transport has let go of the receiver.
protocol ResponseReceiver: AnyObject {
  /// Where heads are read into.
  var response: HeaderMap { get }
  /// More of the request is taken.
  func requestMayGoOn()
  /// No more of the request is taken for now.
  func requestIsHeldUp()
  /// A 1xx: the head of the response is still to come.
  func responseInterim()
  /// It comes in a round of reading, which ends with `responseReadComplete` or with the response.
  func responseHead(_ framing: BodyFraming)
  func responseBody(_ piece: ByteBuffer)
  func responseEnd(_ trailers: Trailers)
  /// This round of reading is over.
  func responseReadComplete()
  /// The connection broke, or said something that is not taken. `reason` is for people.
  func upstreamBroke(_ reason: String, _ acted: UpstreamActed)
}

/// Whether an upstream that gave no whole response has acted on the request.
enum UpstreamActed {
  case maybe
  /// The connection had served a request before and said nothing to this one: the upstream may have closed it while the
  /// request was on its way.
  case unlikely
  case no
}
