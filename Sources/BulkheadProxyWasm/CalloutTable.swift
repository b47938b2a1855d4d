/// The calls out of one plugin that are in flight, by the token that the plugin knows them by. One thread.
final class CalloutTable {
  /// What a call is; a token's lowest two bits say it, so that a token of the wrong kind is known to be one.
  enum Kind: UInt32 {
    case http = 0
    case grpcCall = 1
    case grpcStream = 2
  }

  struct Call {
    var kind: Kind
    /// The stream with which it ends; nil for the plugin's own.
    var owner: StreamContext?
    /// The event loop that makes it.
    var loop: Int
    /// The plugin has said that it sends nothing more.
    var isClosed = false
    /// The other side is done: what the plugin still does to it goes nowhere.
    var isOver = false
  }

  private var calls: [UInt32: Call] = [:]
  private var next: UInt32 = 1

  var count: Int { calls.count }

  /// The kind that a token's number says.
  static func kind(of token: UInt32) -> Kind? { Kind(rawValue: token & 3) }

  subscript(_ token: UInt32) -> Call? {
    get { calls[token] }
    set { calls[token] = newValue }
  }

  /// A token that no call in flight has; never 0.
  func makeToken(_ kind: Kind) -> UInt32 {
    while true {
      let token = next &<< 2 | kind.rawValue
      next = next >= UInt32.max >> 2 ? 1 : next &+ 1
      if calls[token] == nil { return token }
    }
  }

  func add(_ token: UInt32, _ call: Call) {
    calls[token] = call
    call.owner?.calls.append(token)
  }

  func remove(_ token: UInt32) {
    guard let call = calls.removeValue(forKey: token), let owner = call.owner else { return }
    if let index = owner.calls.firstIndex(of: token) { owner.calls.remove(at: index) }
  }

  /// Forgets the calls of a stream that is over.
  func removeAll(of context: StreamContext) {
    for token in context.calls { calls.removeValue(forKey: token) }
    context.calls.removeAll(keepingCapacity: true)
  }
}
