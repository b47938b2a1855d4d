import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// What `proxy_http_call` and the gRPC hostcalls share.
extension PluginHost {
  /// The stream with which a call that is made now ends: that of the context, where it has not ended itself.
  private var owner: StreamContext? {
    guard let active, !active.isEnded else { return nil }
    return active
  }

  /// Whether one call more may be in flight; where not, it is said.
  private func mayCallOut() -> Bool {
    guard callouts.count < configuration.callsInFlight else {
      warn("a call out was refused: \(configuration.callsInFlight) are in flight, as many as the policy allows")
      return false
    }
    return true
  }

  /// The upstream of that name; nil where there is none. A name longer than any is not looked at.
  func upstream(_ name: UnsafeRawBufferPointer) -> String? {
    guard name.count <= Limits.maximumSharedKey else { return nil }
    let text = String(decoding: name, as: UTF8.self)
    return configuration.upstreams.contains(text) ? text : nil
  }

  /// How many upstreams that the plugin may not reach are named in the log, each once.
  static let maximumRefusedUpstreams = 64

  /// Says that the plugin may not reach the upstream of that name, where it is the policy that leaves it out.
  func refuseUpstream(_ name: UnsafeRawBufferPointer) {
    guard configuration.restrictsUpstreams, refusedUpstreams.count < Self.maximumRefusedUpstreams else { return }
    let text = String(decoding: name.prefix(Limits.maximumUpstreamName), as: UTF8.self)
    guard refusedUpstreams.insert(text).inserted else { return }
    warn(
      "the plugin may not reach the upstream '\(text)': it is none of those that its policy lists (upstreams); its calls "
        + "to it are refused, and its choices of an endpoint")
  }

  /// Whether the plugin may ask for the endpoints of the active stream's upstream, and choose among them.
  func mayChooseEndpoint() -> Bool {
    guard configuration.restrictsUpstreams else { return true }
    let name = Array("cluster_name".utf8).withUnsafeBytes { propertyBytes($0) } ?? []
    return name.withUnsafeBytes { name in
      if upstream(name) != nil { return true }
      refuseUpstream(name)
      return false
    }
  }

  /// Sends a new call on its way.
  ///
  /// - Parameter write: writes the operation's key, from token and owner.
  /// - Returns: the token; nil where there is no room for the call, which was said then.
  func callOut(
    _ kind: CalloutTable.Kind, _ code: ReplyOperation.Code, value: UnsafeRawBufferPointer,
    key write: (_ writer: inout WireWriter, _ token: UInt32, _ owner: UInt32) -> Void
  ) -> UInt32? {
    guard mayCallOut() else { return nil }
    let owner = owner
    let token = callouts.makeToken(kind)
    var key = WireWriter(capacity: 512)
    write(&key, token, owner?.stream ?? CallbackRecord.noStream)
    let loop = owner?.loop ?? runningLoop
    let builder = owner.map { self.builder(for: $0) } ?? rootBuilder(loop: loop)
    guard key.count &+ value.count &+ 32 <= configuration.maximumRecord, builder.add(code, key: key.bytes, value: value)
    else {
      warn("a call out was refused: it may have at most \(configuration.maximumRecord) bytes")
      return nil
    }
    callouts.add(token, CalloutTable.Call(kind: kind, owner: owner, loop: loop))
    return token
  }

  /// Sends a step of a gRPC call behind the record that started it.
  func step(
    _ code: ReplyOperation.Code, _ token: UInt32, _ call: CalloutTable.Call, isLast: Bool = false,
    message: UnsafeRawBufferPointer = PluginHost.nothing
  ) -> Bool {
    var key = WireWriter(capacity: 64)
    key.grpcStepKey(token: token, isLast: isLast)
    guard key.count &+ message.count &+ 32 <= configuration.maximumRecord else { return false }
    let builder = call.owner.map { self.builder(for: $0) } ?? rootBuilder(loop: call.loop)
    return builder.add(code, key: key.bytes, value: message)
  }

  /// The calls out that are in flight, by the event loop that makes them.
  public var callsInFlight: [(loop: Int, token: UInt32)] {
    callouts.all.filter { !$0.call.isOver }.map { ($0.call.loop, $0.token) }
  }

  /// Whether the call out of that token is one of this VM's.
  public func made(call token: UInt32) -> Bool { callouts[token] != nil }

  /// A stream is over: the front has cancelled its calls.
  func forgetCalls(of context: StreamContext) {
    if !context.calls.isEmpty { callouts.removeAll(of: context) }
  }

  /// Pairs from the guest as a request or its trailers may carry them: names in lower case, pseudo-headers first.
  ///
  /// - Returns: nil where one may not stand there.
  static func fields(
    _ pairs: PairsView, in rules: HeaderRules.Map, skippingPseudo: Bool = false
  ) -> [(name: [UInt8], value: [UInt8])]? {
    var pseudo: [(name: [UInt8], value: [UInt8])] = []
    var plain: [(name: [UInt8], value: [UInt8])] = []
    var isAllowed = true
    pairs.visit { name, value in
      if skippingPseudo, HeaderRules.isPseudo(name) { return }
      // A request's host goes by its pseudo-header.
      let isHost = (rules == .request || rules == .call) && name.equalsIgnoringCase("host")
      let key = isHost ? Array(":authority".utf8) : name.map { ASCII.lower($0) }
      let isFine = key.withUnsafeBytes { HeaderRules.allows($0, value, in: rules) }
      isAllowed = isAllowed && isFine
      if key.first == UInt8(ascii: ":") {
        pseudo.removeAll { $0.name == key }
        pseudo.append((key, [UInt8](value)))
      } else {
        plain.append((key, [UInt8](value)))
      }
    }
    return isAllowed ? pseudo + plain : nil
  }

  /// A timeout in milliseconds within the bound; 0 stands for none.
  static func timeout(_ milliseconds: UInt32) -> UInt32 { min(milliseconds, Limits.maximumCallMilliseconds) }
}
