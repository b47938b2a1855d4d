/// The streams that wait for their own clients, the one that waits longest first: in a list through the places of the
/// loop's slots, so that none costs more than another. One event loop.
public struct ClientWaits: Sendable {
  private struct Node {
    var before = -1
    var after = -1
    /// CLOCK_MONOTONIC, ns; 0: not in the list.
    var since: UInt64 = 0
  }

  private var nodes: [Node] = []
  private var head = -1
  private var tail = -1

  /// Who has waited longest; nil where nobody waits.
  var first: Int? { head >= 0 ? head : nil }

  /// Who comes behind that one; nil behind the last one, and where it does not wait.
  func next(after slot: Int) -> Int? {
    guard contains(slot), nodes[slot].after >= 0 else { return nil }
    return nodes[slot].after
  }

  func contains(_ slot: Int) -> Bool { nodes.indices.contains(slot) && nodes[slot].since > 0 }

  /// Since when it waits; 0 where it does not.
  public func since(_ slot: Int) -> UInt64 { nodes.indices.contains(slot) ? nodes[slot].since : 0 }

  /// It waits from now on; one that waits already has had something of its client.
  ///
  /// - Parameter now: where it is earlier than that of the last one in the list, that one's counts.
  public mutating func enter(_ slot: Int, now: UInt64) {
    guard slot >= 0 else { return }
    leave(slot)
    while nodes.count <= slot { nodes.append(Node()) }
    nodes[slot] = Node(before: tail, after: -1, since: max(now, tail >= 0 ? nodes[tail].since : 1))
    if tail >= 0 { nodes[tail].after = slot } else { head = slot }
    tail = slot
  }

  /// It waits no more.
  public mutating func leave(_ slot: Int) {
    guard contains(slot) else { return }
    let node = nodes[slot]
    if node.before >= 0 { nodes[node.before].after = node.after } else { head = node.after }
    if node.after >= 0 { nodes[node.after].before = node.before } else { tail = node.before }
    nodes[slot] = Node()
  }
}
