/// The requests whose callbacks run long just now, by the workers that run them: one a worker. A value that knows nothing of
/// workers but their numbers.
struct LongRequests {
  private var list: [(worker: UInt64, request: UInt64)] = []

  @inline(__always)
  var isEmpty: Bool { list.isEmpty }

  var count: Int { list.count }

  /// A callback for that request runs long there.
  ///
  /// - Parameter request: of the stream's fingerprint.
  mutating func begins(_ request: UInt64, in worker: UInt64) {
    ends(in: worker)
    list.append((worker, request))
  }

  /// It has ended, or the worker has.
  mutating func ends(in worker: UInt64) { list.removeAll { $0.worker == worker } }

  /// What runs long in that worker; nil where nothing does.
  func request(in worker: UInt64) -> UInt64? { list.first { $0.worker == worker }?.request }

  /// The first worker in which that request does.
  func worker(at request: UInt64) -> UInt64? { list.first { $0.request == request }?.worker }
}
