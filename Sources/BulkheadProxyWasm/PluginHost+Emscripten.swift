import BulkheadWire
import ProxyWasmABI

extension PluginHost {
  /// How a C program ends that aborts: 128 and the number of SIGABRT.
  private static let aborted: Int32 = 134

  /// The support functions of Emscripten's library.
  func serve(_ call: EmscriptenCall, _ a: HostcallArguments) -> HostcallOutcome {
    switch call {
    case .pthreadEqual: a.setResult(a[0] == a[1] ? 1 : 0 as UInt32)
    case .setTempRet0: temporaryResult = a[0]
    case .getTempRet0: a.setResult(temporaryResult)
    case .resizeHeap, .threadAtExit: a.setResult(0 as UInt32)
    case .heapMaximum: a.setResult(UInt32.max)
    case .memcpyBig, .memcpyJS, .memcpyJSUnderscored: return copy(call, a)
    case .abort, .abortJS: return .exit(Self.aborted)
    case .assertFail:
      let memory = guest.memory
      let (what, file) = (memory.text(at: a[0], atMost: 512), memory.text(at: a[1], atMost: 256))
      warn("an assertion of the plugin failed: \(what) at \(file):\(a[2])")
      return .exit(Self.aborted)
    case .now, .dateNow: a.setResult(Double(services.realtimeNanoseconds() / 1_000) / 1_000)
    }
    return .returned
  }

  private func copy(_ call: EmscriptenCall, _ a: HostcallArguments) -> HostcallOutcome {
    let memory = guest.memory
    guard let from = memory.bytes(a[1], a[2]), let to = memory.mutableBytes(a[0], a[2]) else {
      warn("\(call.name): its arguments are not in the plugin's memory")
      return .exit(Self.aborted)
    }
    if let start = from.baseAddress, let end = to.baseAddress { end.copyMemory(from: start, byteCount: from.count) }
    if call == .memcpyBig { a.setResult(a[0]) }
    return .returned
  }
}

extension GuestMemory {
  /// A text that ends with NUL, as far as it is printable; "" where there is none.
  fileprivate func text(at address: UInt32, atMost most: UInt32) -> String {
    var text: [UInt8] = []
    for offset in 0..<most {
      let (place, overflow) = address.addingReportingOverflow(offset)
      guard !overflow, let byte = bytes(place, 1)?.first, byte != 0 else { break }
      text.append((0x20...0x7E).contains(byte) ? byte : UInt8(ascii: "?"))
    }
    return String(decoding: text, as: UTF8.self)
  }
}
