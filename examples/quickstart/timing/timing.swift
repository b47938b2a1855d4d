// Stamps every response with the time that passed between the request's headers and the response's, in microseconds:
//
//   x-bulkhead-time-us: 312
//
// and tells the upstream that it did, with `x-timed-by: timing` on the request.
//
// Embedded Swift against Proxy-Wasm 0.2.1: no SDK, no Foundation, 30 KB of WebAssembly. `heap.c` beside this file is
// the memory that Swift's runtime asks for.

// What the host offers.

@_extern(wasm, module: "env", name: "proxy_add_header_map_value")
@_extern(c)
private func hostAddHeader(
  _ map: UInt32, _ key: UnsafePointer<UInt8>?, _ keySize: Int, _ value: UnsafePointer<UInt8>?, _ valueSize: Int
) -> UInt32

@_extern(wasm, module: "wasi_snapshot_preview1", name: "clock_time_get")
@_extern(c)
private func hostClock(_ clock: UInt32, _ precision: UInt64, _ time: UnsafeMutablePointer<UInt64>) -> UInt32

private enum HeaderMap: UInt32 {
  case request = 0
  case response = 2
}

private enum Action: UInt32 {
  case `continue` = 0
  case pause = 1
}

/// Adds a header to the message that the current callback is about.
private func addHeader(_ name: StaticString, _ value: [UInt8], to map: HeaderMap) {
  value.withUnsafeBufferPointer { bytes in
    _ = hostAddHeader(map.rawValue, name.utf8Start, name.utf8CodeUnitCount, bytes.baseAddress, bytes.count)
  }
}

/// Nanoseconds of a clock that never goes back.
private func monotonicNanoseconds() -> UInt64 {
  var time: UInt64 = 0
  _ = hostClock(1, 0, &time)
  return time
}

private func decimal(_ number: UInt64) -> [UInt8] {
  var digits: [UInt8] = []
  var rest = number
  repeat {
    digits.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10))
    rest /= 10
  } while rest > 0
  digits.reverse()
  return digits
}

/// When each stream's request came, by the stream's context id. A VM has one thread.
nonisolated(unsafe) private var started: [UInt32: UInt64] = [:]

// What the host calls.

@_expose(wasm, "proxy_abi_version_0_2_1")
@_cdecl("proxy_abi_version_0_2_1")
public func abiVersion() {}

@_expose(wasm, "proxy_on_request_headers")
@_cdecl("proxy_on_request_headers")
public func onRequestHeaders(_ context: UInt32, _ count: UInt32, _ endOfStream: UInt32) -> UInt32 {
  started[context] = monotonicNanoseconds()
  addHeader("x-timed-by", Array("timing".utf8), to: .request)
  return Action.continue.rawValue
}

@_expose(wasm, "proxy_on_response_headers")
@_cdecl("proxy_on_response_headers")
public func onResponseHeaders(_ context: UInt32, _ count: UInt32, _ endOfStream: UInt32) -> UInt32 {
  if let start = started[context] {
    addHeader("x-bulkhead-time-us", decimal((monotonicNanoseconds() &- start) / 1000), to: .response)
  }
  return Action.continue.rawValue
}

@_expose(wasm, "proxy_on_delete")
@_cdecl("proxy_on_delete")
public func onDelete(_ context: UInt32) {
  started[context] = nil
}
