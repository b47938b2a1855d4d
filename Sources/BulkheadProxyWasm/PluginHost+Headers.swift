import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// The hostcalls of section "HTTP fields".
extension PluginHost {
  /// The map, where the active context has it now.
  private func readable(_ type: MapType) -> HeaderMap? {
    if let map = answerMap(type) { return map.isAvailable ? map : nil }
    guard let active else { return nil }
    let map: HeaderMap
    switch type {
    case .requestHeaders: map = active.forward.headers
    case .responseHeaders: map = active.backward.headers
    case .requestTrailers: map = active.forward.trailers
    case .responseTrailers: map = active.backward.trailers
    case .grpcCallInitialMetadata, .grpcCallTrailingMetadata, .httpCallResponseHeaders, .httpCallResponseTrailers:
      return nil
    }
    return map.isAvailable ? map : nil
  }

  private struct Editable {
    var context: StreamContext
    var flow: Flow
    var map: HeaderMap
    var number: EditedMap
  }

  /// The map, where the plugin may change it now: in a callback of its direction, or while that waits from one. The front
  /// decides whether a change of headers still counts.
  private func editable(_ type: MapType) -> Editable? {
    guard let active else { return nil }
    switch type {
    case .requestHeaders where active.forward.isOpen && active.request.isAvailable:
      return Editable(
        context: active, flow: active.forward, map: active.request, number: .requestHeaders)
    case .responseHeaders where active.backward.isOpen && active.response.isAvailable:
      return Editable(
        context: active, flow: active.backward, map: active.response, number: .responseHeaders)
    case .requestTrailers:
      guard let map = active.forward.editableTrailers() else { return nil }
      return Editable(context: active, flow: active.forward, map: map, number: .requestTrailers)
    case .responseTrailers:
      guard let map = active.backward.editableTrailers() else { return nil }
      return Editable(context: active, flow: active.backward, map: map, number: .responseTrailers)
    default: return nil
    }
  }

  func getMapSize(_ memory: GuestMemory, _ type: UInt32, _ sizeAt: UInt32) -> Status {
    guard let type = MapType(rawValue: type) else { return .badArgument }
    return store(UInt32(clamping: readable(type)?.serializedBytes ?? 0), at: sizeAt, memory)
  }

  /// A map that is not there is empty, as Envoy answers it.
  func getMapPairs(
    _ memory: GuestMemory, _ type: UInt32, _ pointerAt: UInt32, _ sizeAt: UInt32
  ) throws(GuestStopped) -> Status {
    guard let type = MapType(rawValue: type) else { return .badArgument }
    guard let map = readable(type) else { return try give(count: 0, pointerAt, sizeAt) { _ in true } }
    return try give(count: map.serializedBytes, pointerAt, sizeAt) { map.write(to: $0) }
  }

  /// Several values of one name come joined as `joined` says. A map that is not there has no value: NOT_FOUND, which every
  /// SDK knows how to take, where Envoy's BAD_ARGUMENT makes the Rust SDK panic; in ABI 0.1.0 an empty value.
  func getMapValue(
    _ memory: GuestMemory, _ type: UInt32, _ keyAt: UInt32, _ keySize: UInt32, _ pointerAt: UInt32, _ sizeAt: UInt32
  ) throws(GuestStopped) -> Status {
    guard let type = MapType(rawValue: type) else { return .badArgument }
    guard let asked = memory.bytes(keyAt, keySize) else { return .invalidMemoryAccess }
    let key = HeaderRules.ownName(asked, in: type)
    guard let map = readable(type), let value = joined(map, key) else {
      guard configuration.abi.missingHeaderIsEmpty else { return .notFound }
      return try give(count: 0, pointerAt, sizeAt) { _ in true }
    }
    return try give(value, pointerAt, sizeAt)
  }

  /// The values of a name, joined with a comma; valid until the next edit and the next use of `scratch`. Those of `cookie`
  /// are joined with `; ` (RFC 9113, 8.2.3), and `set-cookie` has its first one alone, since commas stand in its values
  /// (RFC 9110, 5.3).
  func joined(_ map: HeaderMap, _ name: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
    var walk = map.start
    guard let first = map.next(&walk, named: name) else { return nil }
    guard !name.equalsIgnoringCase("set-cookie"), let second = map.next(&walk, named: name) else {
      return map.value(first)
    }
    let isCookie = name.equalsIgnoringCase("cookie")
    scratch.reset()
    scratch.append(map.value(first))
    var next: HeaderMap.Entry? = second
    while let entry = next {
      scratch.append(byte: isCookie ? UInt8(ascii: ";") : UInt8(ascii: ","))
      if isCookie { scratch.append(byte: UInt8(ascii: " ")) }
      scratch.append(map.value(entry))
      next = map.next(&walk, named: name)
    }
    return scratch.bytes
  }

  /// What may not go on the wire is mended, left out, or costs its message (`HeaderRules.Verdict`): the plugin is answered OK
  /// whatever a client put into the value.
  func editMap(
    _ wanted: ReplyOperation.Code, _ memory: GuestMemory, _ type: UInt32, _ keyAt: UInt32, _ keySize: UInt32,
    _ valueAt: UInt32, _ valueSize: UInt32
  ) -> Status {
    guard let type = MapType(rawValue: type) else { return .badArgument }
    guard let asked = memory.bytes(keyAt, keySize), let value = memory.bytes(valueAt, valueSize) else {
      return .invalidMemoryAccess
    }
    let key = HeaderRules.ownName(asked, in: type)
    guard let target = editable(type) else { return .badArgument }
    let verdict = HeaderRules.judge(key, value, in: target.number.rules)
    guard verdict == .allowed else { return mend(wanted, target, key, verdict) }
    return edit(wanted, target, key, value)
  }

  @inline(never)
  private func mend(
    _ wanted: ReplyOperation.Code, _ target: Editable, _ key: UnsafeRawBufferPointer, _ verdict: HeaderRules.Verdict
  ) -> Status {
    warnOfEdit("an edit of a header map", verdict, key)
    switch verdict {
    case .allowed, .leftOut: return .ok
    case .mended(let mended): return mended.withUnsafeBytes { edit(wanted, target, key, $0) }
    case .unsendable:
      answerInstead(target.context, "the plugin made a message of it that cannot be sent")
      return .ok
    }
  }

  @inline(__always)
  private func edit(
    _ wanted: ReplyOperation.Code, _ target: Editable, _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer
  ) -> Status {
    // There is one request line and one status: adding to a pseudo-header replaces it.
    let operation: ReplyOperation.Code = HeaderRules.isPseudo(key) ? .replace : wanted
    let builder = builder(for: target.context, target.flow)
    guard builder.hasRoom(edit: key.count, value.count) else { return refuseEdit(target, replyIsFull) }
    let bound = configuration.maximumMapBytes
    let isDone =
      operation == .add
      ? target.map.add(key, value, maximumBytes: bound) : target.map.replace(key, value, maximumBytes: bound)
    guard isDone else { return refuseEdit(target, mapIsFull) }
    scratch.reset()
    _ = scratch.appendLowercased(key)
    builder.edit(operation, target.number, key: scratch.bytes, value: value)
    return .ok
  }

  /// Without its pseudo-headers a message has no first line: they stay.
  func removeFromMap(_ memory: GuestMemory, _ type: UInt32, _ keyAt: UInt32, _ keySize: UInt32) -> Status {
    guard let type = MapType(rawValue: type) else { return .badArgument }
    guard let key = memory.bytes(keyAt, keySize) else { return .invalidMemoryAccess }
    guard let target = editable(type) else { return .badArgument }
    guard !HeaderRules.isPseudo(key) else {
      warn("an edit of a header map: a pseudo-header cannot be removed: it stays")
      return .ok
    }
    guard target.map.first(named: key) != nil else { return .ok }
    let builder = builder(for: target.context, target.flow)
    guard builder.hasRoom(edit: key.count, 0) else { return refuseEdit(target, replyIsFull) }
    target.map.remove(key)
    scratch.reset()
    _ = scratch.appendLowercased(key)
    builder.edit(.remove, target.number, key: scratch.bytes, value: UnsafeRawBufferPointer(start: nil, count: 0))
    return .ok
  }

  /// Pseudo-headers that the new map leaves out stay as they are.
  func setMapPairs(_ memory: GuestMemory, _ type: UInt32, _ address: UInt32, _ size: UInt32) -> Status {
    guard let type = MapType(rawValue: type) else { return .badArgument }
    guard let bytes = memory.bytes(address, size) else { return .invalidMemoryAccess }
    guard let target = editable(type), let pairs = Self.pairs(bytes) else { return .badArgument }
    var pseudo: [(name: [UInt8], value: [UInt8])] = []
    var plain: [(name: [UInt8], value: [UInt8])] = []
    var isSendable = true
    pairs.visit { given, value in
      let name = HeaderRules.ownName(given, in: type)
      var pair = (name: name.map { ASCII.lower($0) }, value: [UInt8](value))
      let verdict = HeaderRules.judge(name, value, in: target.number.rules)
      if verdict != .allowed { warnOfEdit("an edit of a header map", verdict, name) }
      switch verdict {
      case .allowed: break
      case .mended(let mended): pair.value = mended
      case .leftOut: return
      case .unsendable: isSendable = false
      }
      guard HeaderRules.isPseudo(name) else { return plain.append(pair) }
      // The last of several stands, as if each replaced the one before.
      pseudo.removeAll { $0.name == pair.name }
      pseudo.append(pair)
    }
    guard isSendable else {
      answerInstead(target.context, "the plugin made a message of it that cannot be sent")
      return .ok
    }
    var walk = target.map.start
    while let entry = target.map.next(&walk) {
      let name = target.map.name(entry)
      guard HeaderRules.isPseudo(name) else { continue }
      if !pseudo.contains(where: { $0.name.elementsEqual(name) }) {
        pseudo.append(([UInt8](name), [UInt8](target.map.value(entry))))
      }
    }
    let all = pseudo + plain
    let fieldBytes = all.reduce(0) { $0 &+ $1.name.count &+ $1.value.count }
    guard
      target.map.mayGrow(
        by: fieldBytes &- target.map.fieldBytes, entries: all.count &- target.map.count,
        maximumBytes: configuration.maximumMapBytes)
    else { return refuseEdit(target, mapIsFull) }
    let block = Self.serialized(all)
    let builder = builder(for: target.context, target.flow)
    guard builder.hasRoom(edit: 0, block.count) else { return refuseEdit(target, replyIsFull) }
    block.withUnsafeBytes { block in
      target.map.load(block, count: all.count)
      builder.edit(.set, target.number, key: UnsafeRawBufferPointer(start: nil, count: 0), value: block)
    }
    return .ok
  }

  /// Serialized pairs from the guest, checked. A single zero byte is an empty map too ("Serialization").
  static func pairs(_ bytes: UnsafeRawBufferPointer) -> PairsView? {
    if bytes.count == 1, bytes[0] == 0 { return try? PairsView(UnsafeRawBufferPointer(start: nil, count: 0)) }
    return try? PairsView(bytes)
  }

  static func serialized(_ pairs: [(name: [UInt8], value: [UInt8])]) -> [UInt8] {
    var writer = WireWriter(capacity: 1024)
    var cursor = writer.beginPairs(count: pairs.count)
    for pair in pairs {
      pair.name.withUnsafeBytes { name in
        pair.value.withUnsafeBytes { value in writer.addPair(&cursor, name, value) }
      }
    }
    return writer.array
  }

  /// The answer to what would make a reply larger than its bound.
  func refuseOversize() -> Status {
    warn("a hostcall was refused: \(replyIsFull)")
    return .internalFailure
  }

  /// The bound of a reply, said.
  var replyIsFull: String {
    "what a plugin says in one callback may have \(configuration.maximumReply) bytes with "
      + "\(ReplyRecord.maximumOperations) edits"
  }

  private var mapIsFull: String {
    "a header map may have at most \(Limits.maximumEditedPairs) entries, with names and values of "
      + "\(configuration.maximumMapBytes) bytes (by limits.headerBytes of the configuration)"
  }

  /// An edit for which there is no room costs its message, not its plugin: how much there is in it is often a client's word.
  private func refuseEdit(_ target: Editable, _ why: String) -> Status {
    answerInstead(target.context, status: target.number == .requestHeaders ? 431 : 500, why)
    return .ok
  }
}
