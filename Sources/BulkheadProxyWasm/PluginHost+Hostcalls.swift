import BulkheadCore
import BulkheadWire
import ProxyWasmABI

extension PluginHost {
  /// Serves a call of the guest.
  ///
  /// - Parameters:
  ///   - number: `HostImport.number`.
  ///   - values: the arguments, of that function's signature; the result is written over the first.
  public func hostcall(_ number: UInt32, _ values: UnsafeMutableRawPointer) -> HostcallOutcome {
    let arguments = HostcallArguments(values)
    guard capabilities.allow(import: number) else { return refuse(HostImport(number: number), arguments) }
    do throws(GuestStopped) {
      switch HostImport(number: number) {
      case .hostcall(let call):
        if isAllocating, !call.isSafeWhileAllocating {
          arguments.setResult(Status.internalFailure.rawValue)
        } else {
          arguments.setResult(try serve(call, arguments).rawValue)
        }
      case .withoutResult(let call):
        if !isAllocating { _ = try serve(call, arguments) }
      case .wasi(.procExit):
        return .exit(Int32(bitPattern: arguments[0]))
      case .wasi(let call):
        arguments.setResult(serve(call, arguments, guest.memory).rawValue)
      case .emscripten(let call):
        return serve(call, arguments)
      case nil:
        arguments.setResult(Status.unimplemented.rawValue)
      }
      return .returned
    } catch {
      return .stopped
    }
  }

  @inline(__always)
  private func serve(_ call: Hostcall, _ a: HostcallArguments) throws(GuestStopped) -> Status {
    let memory = guest.memory
    switch call {
    case .log: return log(memory, level: a[0], a[1], a[2])
    case .getLogLevel: return store(UInt32(logLevel.rawValue), at: a[0], memory)
    case .getCurrentTimeNanoseconds:
      return memory.store64(services.realtimeNanoseconds(), at: a[0]) ? .ok : .invalidMemoryAccess
    case .setTickPeriodMilliseconds: return setTickPeriod(a[0])
    case .getBufferBytes: return try getBuffer(memory, a[0], start: a[1], maximum: a[2], a[3], a[4])
    case .getBufferStatus: return getBufferStatus(memory, a[0], a[1], a[2])
    case .getHeaderMapSize: return getMapSize(memory, a[0], a[1])
    case .getHeaderMapPairs: return try getMapPairs(memory, a[0], a[1], a[2])
    case .setHeaderMapPairs: return setMapPairs(memory, a[0], a[1], a[2])
    case .getHeaderMapValue: return try getMapValue(memory, a[0], a[1], a[2], a[3], a[4])
    case .addHeaderMapValue: return editMap(.add, memory, a[0], a[1], a[2], a[3], a[4])
    case .replaceHeaderMapValue: return editMap(.replace, memory, a[0], a[1], a[2], a[3], a[4])
    case .removeHeaderMapValue: return removeFromMap(memory, a[0], a[1], a[2])
    case .continueStream: return continueStream(a[0])
    case .closeStream: return closeStream(a[0])
    case .getStatus: return try getStatus(memory, a[0], a[1], a[2])
    case .sendLocalResponse: return sendLocalResponse(memory, a)
    case .getProperty: return try getProperty(memory, a[0], a[1], a[2], a[3])
    case .setProperty: return setProperty(memory, a[0], a[1], a[2], a[3])
    case .done: return done()
    case .setEffectiveContext: return setEffectiveContext(a[0])
    case .notifyMemoryGrowth: return .ok
    case .httpCall: return httpCall(memory, a)
    case .grpcCall: return grpcCall(memory, a)
    case .grpcStream: return grpcStream(memory, a)
    case .grpcSend: return grpcSend(memory, a[0], a[1], a[2], ends: a[3] != 0)
    case .grpcCancel: return grpcCancel(a[0])
    case .grpcClose: return grpcClose(a[0])
    case .setSharedData: return setSharedData(memory, a)
    case .getSharedData: return try getSharedData(memory, a)
    case .registerSharedQueue: return registerQueue(memory, a[0], a[1], a[2])
    case .resolveSharedQueue: return resolveQueue(memory, a)
    case .enqueueSharedQueue: return enqueue(memory, a[0], a[1], a[2])
    case .dequeueSharedQueue: return try dequeue(memory, a[0], a[1], a[2])
    case .defineMetric: return defineMetric(memory, a[0], a[1], a[2], a[3])
    case .recordMetric: return recordMetric(a[0], a.long(1))
    case .incrementMetric: return incrementMetric(a[0], by: Int64(bitPattern: a.long(1)))
    case .getMetric: return getMetric(memory, a[0], a[1])
    case .callForeignFunction: return try callForeign(memory, a)
    case .getUpstreamHosts: return try getUpstreamHosts(memory, a[0], a[1])
    case .setUpstreamOverrideHost: return setUpstreamHost(memory, a[0], a[1])
    case .setBufferBytes: return setBuffer(memory, a[0], start: a[1], length: a[2], a[3], a[4])
    case .getConfiguration: return try getConfiguration(a[0], a[1])
    case .continueRequest: return continueStream(StreamType.request.rawValue)
    case .continueResponse: return continueStream(StreamType.response.rawValue)
    // Nothing is cached: there is one route a listener.
    case .clearRouteCache: return .ok
    case .redisInit, .redisCall, .injectEncodedData:
      return .unimplemented
    }
  }

  // MARK: Handing bytes to the guest

  /// Copies bytes into memory that the guest's allocator gives, and writes where they are and how many.
  ///
  /// The bytes must be the host's, and nothing that a hostcall allowed while allocating changes.
  func give(
    _ bytes: UnsafeRawBufferPointer, _ pointerAt: UInt32, _ sizeAt: UInt32
  ) throws(GuestStopped) -> Status {
    try give(count: bytes.count, pointerAt, sizeAt) { room in
      room.copyMemory(from: bytes)
      return true
    }
  }

  /// As `give`, for bytes that `fill` writes; `fill` says whether it could.
  func give(
    count: Int, _ pointerAt: UInt32, _ sizeAt: UInt32, fill: (UnsafeMutableRawBufferPointer) -> Bool
  ) throws(GuestStopped) -> Status {
    let before = guest.memory
    guard before.contains(pointerAt, 4), before.contains(sizeAt, 4), let size = UInt32(exactly: count) else {
      return .invalidMemoryAccess
    }
    var address: UInt32 = 0
    if size > 0 {
      address = try allocate(size)
      guard address != 0, let room = guest.memory.mutableBytes(address, size), fill(room) else {
        return .invalidMemoryAccess
      }
    }
    let memory = guest.memory
    guard memory.store32(address, at: pointerAt), memory.store32(size, at: sizeAt) else { return .invalidMemoryAccess }
    return .ok
  }

  /// Memory from the guest's own allocator ("Memory management"); 0 where it has none or gives none.
  func allocate(_ size: UInt32) throws(GuestStopped) -> UInt32 {
    isAllocating = true
    defer { isAllocating = false }
    if guest.exports(.memoryAllocate) { return try guest.call(.memoryAllocate, size, 0, 0, 0, 0) }
    if guest.exports(.malloc) { return try guest.call(.malloc, size, 0, 0, 0, 0) }
    return 0
  }

  @inline(__always)
  func store(_ value: UInt32, at address: UInt32, _ memory: GuestMemory) -> Status {
    memory.store32(value, at: address) ? .ok : .invalidMemoryAccess
  }

  // MARK: Logging, ticks

  private func log(_ memory: GuestMemory, level: UInt32, _ address: UInt32, _ size: UInt32) -> Status {
    guard let level = UInt8(exactly: level).flatMap(LogLevel.init(rawValue:)) else { return .badArgument }
    guard let message = memory.bytes(address, size) else { return .invalidMemoryAccess }
    emitLog(level, message)
    return .ok
  }

  /// The least level that is passed on now.
  private var logLevel: LogLevel { services.logLevel ?? configuration.logLevel }

  /// Passes a line on where its level is wanted, with what it was written for.
  ///
  /// - Parameter isGuest: whether the plugin's code wrote it; else the host did, about the plugin.
  func emitLog(_ level: LogLevel, isGuest: Bool = true, _ message: UnsafeRawBufferPointer) {
    guard level >= logLevel else { return }
    let id = active?.request.firstValue("x-request-id")
    services.log(
      PluginLine(
        level: level, isGuest: isGuest, callback: kind, stream: active?.stream ?? CallbackRecord.noStream,
        request: UnsafeRawBufferPointer(
          rebasing: (id ?? .init(start: nil, count: 0)).prefix(Self.maximumRequestIDBytes)),
        message: UnsafeRawBufferPointer(rebasing: message.prefix(Limits.maximumLogLine)), totalBytes: message.count))
  }

  /// Hands over what the guest wrote to its standard output and error and has not ended with a newline: its last words,
  /// where it has just died.
  public func flushOutput() { output.flush { level, line in emitLog(level, line) } }

  /// A line of the host's own about what the plugin did.
  func warn(_ text: String) {
    var copy = text
    copy.withUTF8 { emitLog(.warn, isGuest: false, UnsafeRawBufferPointer($0)) }
  }

  private func setTickPeriod(_ milliseconds: UInt32) -> Status {
    if tickPeriodMilliseconds != milliseconds {
      tickPeriodMilliseconds = milliseconds
      services.tickPeriodChanged(milliseconds: milliseconds)
    }
    return .ok
  }

  // MARK: Contexts

  private func done() -> Status {
    guard let active, active.isHeld else { return .notFound }
    if !active.isFinishing { finish(active) }
    return .ok
  }

  private func setEffectiveContext(_ id: UInt32) -> Status {
    switch id {
    case 0: active = current
    case Self.rootID: active = nil
    default:
      guard let context = context(id: id) else { return .badArgument }
      active = context
    }
    return .ok
  }
}

extension Hostcall {
  /// Whether the guest may make it while the host waits for the guest's allocator: it changes nothing that the hostcall
  /// beneath it holds.
  fileprivate var isSafeWhileAllocating: Bool {
    switch self {
    case .log, .getLogLevel, .getCurrentTimeNanoseconds, .notifyMemoryGrowth: true
    default: false
    }
  }
}
