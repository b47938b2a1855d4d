/// The two pipes of a worker as one event loop watches them: the doorbell, which it rings where the loop sleeps and there is
/// something to read, and the liveness pipe, which ends with it. Whoever watches calls `rung` and `died` of the link.
public protocol LinkPipes: AnyObject {
  /// The worker may live on, and ring all the time: nobody listens any more.
  func closeDoorbell()

  /// Both are closed.
  func close()
}
