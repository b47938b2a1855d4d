import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// The hostcalls of sections "Shared Key-Value Store" and "Shared Queues": what they are about lies in the front, so each
/// is a question that the guest waits for.
extension PluginHost {
  static var nothing: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: nil, count: 0) }

  /// How a question to the front ended.
  enum Answered {
    /// Its status is OK.
    case ok(HostcallAnswer)
    case refused(Status)
  }

  /// Puts a question to the front on the event loop whose callback runs; nil where there is no answer.
  func question(
    _ call: HostcallRequest.Call, number: UInt64 = 0, key: UnsafeRawBufferPointer = PluginHost.nothing,
    value: UnsafeRawBufferPointer = PluginHost.nothing, extra: UnsafeRawBufferPointer = PluginHost.nothing
  ) -> HostcallAnswer? {
    // The head of a reply, call and number, and the lengths of the three blobs.
    guard 44 &+ key.count &+ value.count &+ extra.count <= configuration.maximumRecord else {
      _ = refuseOversize()
      return nil
    }
    return services.ask(call, number: number, key: key, value: value, extra: extra, loop: runningLoop)
  }

  /// As `question`, where a status that is not OK is all that there is to know.
  func ask(
    _ call: HostcallRequest.Call, number: UInt64 = 0, key: UnsafeRawBufferPointer = PluginHost.nothing,
    value: UnsafeRawBufferPointer = PluginHost.nothing
  ) -> Answered {
    guard let answer = question(call, number: number, key: key, value: value) else {
      return .refused(.internalFailure)
    }
    guard answer.status == Status.ok.rawValue else {
      return .refused(Status(rawValue: answer.status) ?? .internalFailure)
    }
    return .ok(answer)
  }

  /// Says which bound a key, name or value is over.
  private func isTooLarge(_ bytes: UnsafeRawBufferPointer, _ what: StaticString, _ limit: Int) -> Bool {
    guard bytes.count > limit else { return false }
    warn("a hostcall was refused: \(what) of \(bytes.count) bytes; it may have at most \(limit)")
    return true
  }

  func isTooLongName(_ name: UnsafeRawBufferPointer, _ what: StaticString) -> Bool {
    isTooLarge(name, what, Limits.maximumSharedKey)
  }

  // MARK: Shared data

  func setSharedData(_ memory: GuestMemory, _ a: HostcallArguments) -> Status {
    guard let key = memory.bytes(a[0], a[1]), let value = memory.bytes(a[2], a[3]) else { return .invalidMemoryAccess }
    guard !isTooLongName(key, "a key of shared data"),
      !isTooLarge(value, "a value of shared data", Limits.maximumSharedValue)
    else { return .internalFailure }
    switch ask(.setSharedData, number: UInt64(a[4]), key: key, value: value) {
    case .ok: return .ok
    case .refused(let status): return status
    }
  }

  func getSharedData(_ memory: GuestMemory, _ a: HostcallArguments) throws(GuestStopped) -> Status {
    guard let key = memory.bytes(a[0], a[1]), memory.contains(a[2], 4), memory.contains(a[3], 4),
      memory.contains(a[4], 4)
    else { return .invalidMemoryAccess }
    guard key.count <= Limits.maximumSharedKey else { return .notFound }
    switch ask(.getSharedData, key: key) {
    case .refused(let status): return status
    case .ok(let answer):
      let casAt = a[4]
      let cas = UInt32(truncatingIfNeeded: answer.number)
      let status = try give(answer.payload, a[2], a[3])
      return status == .ok ? store(cas, at: casAt, guest.memory) : status
    }
  }

  // MARK: Queues

  func registerQueue(_ memory: GuestMemory, _ nameAt: UInt32, _ nameSize: UInt32, _ tokenAt: UInt32) -> Status {
    guard let name = memory.bytes(nameAt, nameSize), memory.contains(tokenAt, 4) else { return .invalidMemoryAccess }
    guard !isTooLongName(name, "a queue's name") else { return .internalFailure }
    return storeNumber(ask(.registerQueue, key: name), at: tokenAt, memory)
  }

  func resolveQueue(_ memory: GuestMemory, _ a: HostcallArguments) -> Status {
    guard let vmID = memory.bytes(a[0], a[1]), let name = memory.bytes(a[2], a[3]), memory.contains(a[4], 4) else {
      return .invalidMemoryAccess
    }
    guard vmID.count <= Limits.maximumSharedKey, name.count <= Limits.maximumSharedKey else { return .notFound }
    return storeNumber(ask(.resolveQueue, key: vmID, value: name), at: a[4], memory)
  }

  /// Hands over an answer's number: a queue's token or a metric.
  func storeNumber(_ answered: Answered, at address: UInt32, _ memory: GuestMemory) -> Status {
    switch answered {
    case .ok(let answer): store(UInt32(truncatingIfNeeded: answer.number), at: address, memory)
    case .refused(let status): status
    }
  }

  func enqueue(_ memory: GuestMemory, _ token: UInt32, _ dataAt: UInt32, _ dataSize: UInt32) -> Status {
    guard let data = memory.bytes(dataAt, dataSize) else { return .invalidMemoryAccess }
    guard token != 0 else { return .notFound }
    guard !isTooLarge(data, "a message of a queue", Limits.maximumSharedValue) else { return .internalFailure }
    switch ask(.enqueue, number: UInt64(token), value: data) {
    case .ok: return .ok
    case .refused(let status): return status
    }
  }

  func dequeue(
    _ memory: GuestMemory, _ token: UInt32, _ pointerAt: UInt32, _ sizeAt: UInt32
  ) throws(GuestStopped) -> Status {
    guard memory.contains(pointerAt, 4), memory.contains(sizeAt, 4) else { return .invalidMemoryAccess }
    guard token != 0 else { return .notFound }
    switch ask(.dequeue, number: UInt64(token)) {
    case .ok(let answer): return try give(answer.payload, pointerAt, sizeAt)
    case .refused(let status): return status
    }
  }
}
