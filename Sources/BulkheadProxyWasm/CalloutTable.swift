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
  private let tokens: CallTokens

  init(_ tokens: CallTokens = CallTokens()) { self.tokens = tokens }

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
      let token = tokens.next() &<< 2 | kind.rawValue
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

  /// All that are in flight.
  var all: [(token: UInt32, call: Call)] { calls.map { ($0.key, $0.value) } }

  /// Forgets the calls of a stream that is over.
  func removeAll(of context: StreamContext) {
    for token in context.calls { calls.removeValue(forKey: token) }
    context.calls.removeAll(keepingCapacity: true)
  }
}

/// Numbers calls out. The VMs of one process share it: an answer to a call of a VM that is gone finds none of a later one.
/// One thread.
public final class CallTokens {
  private var last: UInt32 = 0

  /// No call is in flight.
  public init() {}

  /// The next number, from 1 to 2^30 - 1 and then anew.
  func next() -> UInt32 {
    last = last >= UInt32.max >> 2 ? 1 : last &+ 1
    return last
  }
}
