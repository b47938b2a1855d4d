/// One plugin as one stream has met it.
public struct PluginVisit {
  enum Meeting {
    case unseen
    /// A worker has a context for the stream, or is about to.
    case open
    /// The plugin failed the stream, which goes on without it.
    case dead
  }

  var meeting = Meeting.unseen
  /// The worker that has the stream; nil before, and once it or its VM is lost.
  private(set) var link: WorkerLink?
  /// The sequence there of the record that it was met with.
  private(set) var firstSequence: UInt64 = 0
  /// What the worker is counted to keep for the stream, in bytes.
  private(set) var held = 0
  /// How much of that is for headers, trailers and properties.
  var headers = KeptHeaders()
  /// A callback was completed there: the VM has state of this stream.
  var hasState = false
  /// It was told of the response: its headers, and what is known with them.
  var sawResponse = false
  /// It was told that the upstream's side of a TCP connection is closed.
  var sawUpstreamClose = false
  /// Which of the properties that are known of the stream it knows.
  var propertyVersion: UInt32 = 0
  /// Of the callback that it was to have and that was lost with a worker.
  var redispatches = Redispatches()

  /// The first record went to that worker.
  mutating func meet(_ link: WorkerLink, _ sequence: UInt64) {
    meeting = .open
    self.link = link
    firstSequence = sequence
    link.hold(0)
  }

  /// The stream goes to another worker of the plugin, as if it had met none.
  mutating func unmeet() {
    leave()
    let redispatches = redispatches
    self = PluginVisit()
    self.redispatches = redispatches
  }

  /// The worker keeps nothing of the stream any more.
  mutating func leave() {
    link?.letGo(held)
    link = nil
    held = 0
  }

  /// The worker is dead and settled: the stream keeps only the fact that it has met it.
  mutating func forgetWorker() { link = nil }

  /// The worker keeps that many bytes more, or fewer where it is below 0.
  mutating func count(_ bytes: Int) {
    guard bytes != 0, let link else { return }
    held &+= bytes
    link.holdMore(bytes)
  }
}
