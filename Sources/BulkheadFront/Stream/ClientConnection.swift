/// A client's connection as its event loop keeps it, from the moment it is taken to its end. That loop alone touches it.
protocol ClientConnection: AnyObject {
  /// Place in the loop's list, -1 outside.
  var place: Int { get set }

  /// Looks whether something takes too long; called many times a second.
  func checkDeadline(_ now: UInt64)

  /// Takes nothing new; what is in flight is finished.
  func drain()

  /// Another front takes the next connection: this one ends with the first response that can still say so.
  func handOver()

  /// Closes now, whatever is under way.
  func reset()
}
