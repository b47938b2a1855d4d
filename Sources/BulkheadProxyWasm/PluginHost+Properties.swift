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
    switch property(path) {
    case .bytes(let value): return try give(value, pointerAt, sizeAt)
    case .owned(let value):
      return try give(count: value.count, pointerAt, sizeAt) { room in
        room.copyBytes(from: value)
        return true
      }
    case .map(let map): return try give(count: map.serializedBytes, pointerAt, sizeAt) { map.write(to: $0) }
    case nil: return .notFound
    }
  }

  /// What the host gives cannot be hidden by what the plugin set; what plugins before this one set can.
  private func property(_ path: UnsafeRawBufferPointer) -> Value? {
    guard PropertyPath.isReserved(path) else {
      if let value = (active ?? rootProperties).ownProperty(path) { return .owned(value) }
      if let value = active.flatMap({ Value($0.property(path)) }) { return value }
      return filterState(path)
    }
    let (first, rest) = PropertyPath.split(path)
    guard let rest else { return single(first) }
    guard let active else { return nil }
    // Of a stream that is over the front knows better than what the headers announced.
    if active.isEnded, let value = active.property(path) { return .bytes(value) }
    if first.equalsIgnoringCase("request"), let value = request(active, rest) { return value }
    if first.equalsIgnoringCase("response"), let value = response(active, rest) { return value }
    if let value = active.property(path) { return .bytes(value) }
    // Another name of what stands alone elsewhere.
    if first.equalsIgnoringCase("xds") { return Value(active.property(rest)) }
    if first.equalsIgnoringCase("request") { return announced(active.request, rest) }
    if first.equalsIgnoringCase("response") { return announced(active.response, rest) }
    return nil
  }

  /// What plugins set is in Envoy's filter state under `wasm.` and its name, and can be read there too.
  private func filterState(_ path: UnsafeRawBufferPointer) -> Value? {
    let (first, rest) = PropertyPath.split(path)
    let prefix: StaticString = "wasm."
    guard first.equalsIgnoringCase("filter_state"), let rest, rest.count > prefix.utf8CodeUnitCount,
      UnsafeRawBufferPointer(rebasing: rest.prefix(prefix.utf8CodeUnitCount)).equalsIgnoringCase(prefix)
    else { return nil }
    let name = UnsafeRawBufferPointer(rebasing: rest.dropFirst(prefix.utf8CodeUnitCount))
    guard !PropertyPath.isReserved(name) else { return nil }
    if let value = (active ?? rootProperties).ownProperty(name) { return .owned(value) }
    return active.flatMap { Value($0.property(name)) }
  }

  /// The plugin's own copy, and word to the front: plugins behind this one and the access log see it. A name that the
  /// host itself gives is taken, as Envoy does, and stays what it is.
  func setProperty(
    _ memory: GuestMemory, _ pathAt: UInt32, _ pathSize: UInt32, _ valueAt: UInt32, _ valueSize: UInt32
  ) -> Status {
    guard let raw = memory.bytes(pathAt, pathSize), let value = memory.bytes(valueAt, valueSize) else {
      return .invalidMemoryAccess
    }
    let path = PropertyPath.normalized(raw)
    guard !isTooLongName(path, "the path of a property") else { return .internalFailure }
    if isReadOnly(path), (active ?? rootProperties).ownProperty(path) != nil { return .badArgument }
    guard setOwnProperty(path, value) else { return .internalFailure }
    guard let active, !active.isEnded, !path.isEmpty, !PropertyPath.isReserved(path) else { return .ok }
    let builder = builder(for: active)
    guard builder.hasRoom(edit: path.count, value.count) else { return refuseOversize() }
    builder.operation(.setProperty, key: path, value: value)
    return .ok
  }

  /// Sets it on the active context.
  ///
  /// - Returns: false where it is over a bound, which was said then.
  func setOwnProperty(_ path: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) -> Bool {
    let context = active ?? rootProperties
    let before = context.ownPropertyBytes
    guard context.setOwnProperty(path, value, room: configuration.maximumOwnPropertyBytes &- ownPropertyBytes) else {
      warn(
        "a property was refused: a stream has at most \(StreamContext.maximumOwnProperties) of them with "
          + "\(StreamContext.maximumOwnPropertyBytes) bytes, and all streams of a plugin "
          + "\(configuration.maximumOwnPropertyBytes) bytes")
      return false
    }
    ownPropertyBytes &+= context.ownPropertyBytes &- before
    return true
  }

  /// A property of the active context as bytes of their own; nil where there is none.
  func propertyBytes(_ path: UnsafeRawBufferPointer) -> [UInt8]? {
    switch property(path) {
    case .bytes(let value): return [UInt8](value)
    case .owned(let value): return value
    case .map(let map):
      return [UInt8](unsafeUninitializedCapacity: map.serializedBytes) { room, count in
        count = map.write(to: UnsafeMutableRawBufferPointer(room)) ? room.count : 0
      }
    case nil: return nil
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

  /// A path of one part.
  private func single(_ path: UnsafeRawBufferPointer) -> Value? {
    if path.equalsIgnoringCase("plugin_name") { return .owned(PropertyValue.bytes(configuration.name)) }
    if path.equalsIgnoringCase("plugin_root_id") { return .owned(PropertyValue.bytes(configuration.rootID)) }
    if path.equalsIgnoringCase("plugin_vm_id") { return .owned(PropertyValue.bytes(configuration.vmID)) }
    if path.equalsIgnoringCase("connection_id") {
      return PropertyPath.bytes("connection", "id").withUnsafeBytes { Value(active?.property($0)) }
    }
    return active.flatMap { Value($0.property(path)) }
  }

  /// What the request's headers say now.
  private func request(_ context: StreamContext, _ path: UnsafeRawBufferPointer) -> Value? {
    let map = context.request
    guard map.isAvailable else { return nil }
    if path.equalsIgnoringCase("path") { return Value(map.firstValue(":path")) }
    if path.equalsIgnoringCase("url_path") { return Value(map.firstValue(":path").map { Self.cut($0).path }) }
    // A request without one has an empty one.
    if path.equalsIgnoringCase("query") {
      return Value(map.firstValue(":path").map { Self.cut($0).query ?? Self.nothing })
    }
    if path.equalsIgnoringCase("host") { return Value(map.firstValue(":authority")) }
    if path.equalsIgnoringCase("scheme") { return Value(map.firstValue(":scheme")) }
    if path.equalsIgnoringCase("method") { return Value(map.firstValue(":method")) }
    if path.equalsIgnoringCase("referer") { return Value(map.firstValue("referer")) }
    if path.equalsIgnoringCase("useragent") { return Value(map.firstValue("user-agent")) }
    if path.equalsIgnoringCase("id") { return Value(map.firstValue("x-request-id")) }
    return fields("headers", map, path)
  }

  /// What the response's headers and trailers say now.
  private func response(_ context: StreamContext, _ path: UnsafeRawBufferPointer) -> Value? {
    let (map, trailers) = (context.response, context.backward.trailers)
    if path.equalsIgnoringCase("grpc_status") {
      let status = trailers.firstValue("grpc-status") ?? map.firstValue("grpc-status")
      return status.flatMap(Self.number).map { .owned(PropertyValue.bytes($0)) }
    }
    if path.equalsIgnoringCase("code") {
      return map.firstValue(":status").flatMap(Self.number).map { .owned(PropertyValue.bytes($0)) }
    }
    return fields("headers", map, path) ?? fields("trailers", trailers, path)
  }

  /// A whole map, or the values of one name in it.
  private func fields(_ key: StaticString, _ map: HeaderMap, _ path: UnsafeRawBufferPointer) -> Value? {
    guard map.isAvailable else { return nil }
    if path.equalsIgnoringCase(key) { return .map(map) }
    let (first, name) = PropertyPath.split(path)
    guard let name, first.equalsIgnoringCase(key) else { return nil }
    return Value(joined(map, name))
  }

  /// Sizes, as far as the message announces them: of what it does not, nothing has come yet.
  private func announced(_ map: HeaderMap, _ path: UnsafeRawBufferPointer) -> Value? {
    guard path.equalsIgnoringCase("size") || path.equalsIgnoringCase("total_size"), map.isAvailable else { return nil }
    let size = map.firstValue("content-length").flatMap(Self.number) ?? 0
    let headers = path.equalsIgnoringCase("size") ? 0 : Int64(map.serializedBytes)
    return .owned(PropertyValue.bytes(size.addingReportingOverflow(headers).partialValue))
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
