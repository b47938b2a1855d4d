/// What one worker keeps of one event loop's streams, beside its guest's memory: each keeps its headers to its end. The loop's
/// part of what a worker may keep bounds it.
struct HeldBytes {
  /// Streams that the worker has a context for, and the most of them.
  private(set) var streams = 0
  let maximumStreams: Int
  /// Of all those streams, and the most that another one may make it.
  private(set) var bytes = 0
  let maximumBytes: Int

  /// - Parameters:
  ///   - streams: the most that one worker may have, over all event loops.
  ///   - loops: how many share the worker.
  init(streams: Int, loops: Int) {
    maximumStreams = max(streams / loops, 1)
    maximumBytes = ChainLimits.heldBytes / loops
  }

  /// Whether the worker may keep that many bytes for one more stream.
  @inline(__always)
  func hasRoom(for bytes: Int) -> Bool { streams < maximumStreams && self.bytes &+ bytes <= maximumBytes }

  /// Whether a stream that is counted may have the worker keep more of its body: what it keeps already does not count
  /// against it, so that one of the bound's size gets through.
  @inline(__always)
  func hasBodyRoom(own: Int) -> Bool { bytes &- own <= maximumBytes }

  /// One more stream, of which the worker keeps that many bytes.
  @inline(__always)
  mutating func hold(_ bytes: Int) {
    streams &+= 1
    self.bytes &+= bytes
  }

  /// A stream is over.
  @inline(__always)
  mutating func letGo(_ bytes: Int) {
    streams &-= 1
    self.bytes &-= bytes
  }

  /// A stream that is counted has the worker keep that many bytes more, or fewer where it is below 0.
  @inline(__always)
  mutating func holdMore(_ bytes: Int) { self.bytes &+= bytes }
}
