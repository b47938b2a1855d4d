/// What is under way in one worker for its plugin itself, and for none of its streams: calls out, and what it is told of its
/// queues.
public struct RootWork {
  /// What calls out keep for this worker, in bytes; `OutgoingCall` counts it.
  public var callBytes = 0
  /// What answers to calls keep that were not made and are about to be owed; `CallsOut` counts it.
  public var refusalBytes = 0
  /// Calls out wait until fewer records are owed.
  public var hasHeldCalls = false
  /// `proxy_on_queue_ready` that it was sent and has not answered.
  var notifications = 0
}
