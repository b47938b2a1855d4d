import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// The hostcalls of section "Properties". What follows from the headers is read from them, as the plugin sees them now;
/// the rest the front sent with the stream, or the plugin set itself.
extension PluginHost {
  func getProperty(
    _ memory: GuestMemory, _ pathAt: UInt32, _ pathSize: UInt32, _ pointerAt: UInt32, _ sizeAt: UInt32
  ) throws(GuestStopped) -> Status {
    guard let raw = memory.bytes(pathAt, pathSize) else { return .invalidMemoryAccess }
    guard pathSize <= 1 << 16 else { return .notFound }
    let path = PropertyPath.normalized(raw)
    switch wellKnown(path) {
    case .bytes(let value): return try give(value, pointerAt, sizeAt)
    case .owned(let value):
      return try give(count: value.count, pointerAt, sizeAt) { room in
        room.copyBytes(from: value)
        return true
      }
    case .map(let map): return try give(count: map.serializedBytes, pointerAt, sizeAt) { map.write(to: $0) }
    case nil: break
    }
    if let active, let value = active.property(path) { return try give(value, pointerAt, sizeAt) }
    guard let value = (active ?? rootProperties).ownProperty(path) else { return .notFound }
    return try give(count: value.count, pointerAt, sizeAt) { room in
      room.copyBytes(from: value)
      return true
    }
  }

  func setProperty(
    _ memory: GuestMemory, _ pathAt: UInt32, _ pathSize: UInt32, _ valueAt: UInt32, _ valueSize: UInt32
  ) -> Status {
    guard let path = memory.bytes(pathAt, pathSize), let value = memory.bytes(valueAt, valueSize) else {
      return .invalidMemoryAccess
    }
    guard (active ?? rootProperties).setOwnProperty(PropertyPath.normalized(path), value) else {
      warn(
        "proxy_set_property was refused: a stream has at most \(StreamContext.maximumOwnProperties) properties of "
          + "\(StreamContext.maximumOwnPropertyBytes) bytes in all")
      return .internalFailure
    }
    return .ok
  }

  /// A property of the active context as bytes of their own; nil where there is none.
  func propertyBytes(_ path: UnsafeRawBufferPointer) -> [UInt8]? {
    switch wellKnown(path) {
    case .bytes(let value): return [UInt8](value)
    case .owned(let value): return value
    case .map(let map):
      return [UInt8](unsafeUninitializedCapacity: map.serializedBytes) { room, count in
        count = map.write(to: UnsafeMutableRawBufferPointer(room)) ? room.count : 0
      }
    case nil: return active?.property(path).map { [UInt8]($0) } ?? (active ?? rootProperties).ownProperty(path)
    }
  }

  private enum Value {
    case bytes(UnsafeRawBufferPointer)
    case owned([UInt8])
    case map(HeaderMap)

    init?(_ bytes: UnsafeRawBufferPointer?) {
      guard let bytes else { return nil }
      self = .bytes(bytes)
    }
  }

  private func wellKnown(_ path: UnsafeRawBufferPointer) -> Value? {
    let (first, rest) = PropertyPath.split(path)
    guard let rest else {
      if first.equals("plugin_name") { return .owned(PropertyValue.bytes(configuration.name)) }
      if first.equals("plugin_root_id") { return .owned(PropertyValue.bytes(configuration.rootID)) }
      if first.equals("plugin_vm_id") { return .owned(PropertyValue.bytes(configuration.vmID)) }
      return nil
    }
    guard let active else { return nil }
    if first.equals("request"), active.request.isAvailable { return request(active.request, rest) }
    if first.equals("response"), active.response.isAvailable { return response(active.response, rest) }
    return nil
  }

  private func request(_ map: HeaderMap, _ path: UnsafeRawBufferPointer) -> Value? {
    if path.equals("path") { return Value(map.firstValue(":path")) }
    if path.equals("url_path") { return Value(map.firstValue(":path").map { Self.cut($0).path }) }
    if path.equals("query") { return Value(map.firstValue(":path").flatMap { Self.cut($0).query }) }
    if path.equals("host") { return Value(map.firstValue(":authority")) }
    if path.equals("scheme") { return Value(map.firstValue(":scheme")) }
    if path.equals("method") { return Value(map.firstValue(":method")) }
    if path.equals("referer") { return Value(map.firstValue("referer")) }
    if path.equals("useragent") { return Value(map.firstValue("user-agent")) }
    if path.equals("id") { return Value(map.firstValue("x-request-id")) }
    return common(map, path)
  }

  private func response(_ map: HeaderMap, _ path: UnsafeRawBufferPointer) -> Value? {
    if path.equals("code") {
      return map.firstValue(":status").flatMap(Self.number).map { .owned(PropertyValue.bytes($0)) }
    }
    return common(map, path)
  }

  /// What both messages have. Sizes are those that the message announces; where it does not, the front may know.
  private func common(_ map: HeaderMap, _ path: UnsafeRawBufferPointer) -> Value? {
    if path.equals("headers") { return .map(map) }
    if path.equals("size") || path.equals("total_size") {
      guard let size = map.firstValue("content-length").flatMap(Self.number) else { return nil }
      let headers = path.equals("size") ? 0 : Int64(map.serializedBytes)
      return .owned(PropertyValue.bytes(size.addingReportingOverflow(headers).partialValue))
    }
    let (first, name) = PropertyPath.split(path)
    if first.equals("headers"), let name { return Value(map.first(named: name).map { map.value($0) }) }
    return nil
  }

  private static func cut(
    _ path: UnsafeRawBufferPointer
  ) -> (path: UnsafeRawBufferPointer, query: UnsafeRawBufferPointer?) {
    guard let mark = path.firstIndex(of: UInt8(ascii: "?")) else { return (path, nil) }
    return (UnsafeRawBufferPointer(rebasing: path[..<mark]), UnsafeRawBufferPointer(rebasing: path[(mark + 1)...]))
  }

  /// A decimal number of at most 18 digits.
  private static func number(_ digits: UnsafeRawBufferPointer) -> Int64? {
    guard (1...18).contains(digits.count) else { return nil }
    var value: Int64 = 0
    for digit in digits {
      guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
      value = value &* 10 &+ Int64(digit &- UInt8(ascii: "0"))
    }
    return value
  }
}
