import BulkheadCore
import BulkheadProxyWasm
import BulkheadWire
import ProxyWasmABI
import Testing

/// A small generator with a fixed seed: a failure can be repeated.
private struct Generator: RandomNumberGenerator {
  var state: UInt64
  mutating func next() -> UInt64 {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return (state ^ (state >> 33)) &* 0xFF51_AFD7_ED55_8CCD
  }

  /// Numbers that hurt: small ones, edges of the memory, edges of 32 bits.
  mutating func argument(memory: Int) -> UInt64 {
    switch next() % 8 {
    case 0: next() % 16
    case 1: UInt64(memory) &- next() % 16
    case 2: UInt64(UInt32.max) - next() % 16
    case 3: next() % UInt64(UInt32.max)
    case 4: 1 << (next() % 64)
    default: next() % UInt64(memory)
    }
  }
}

@Suite struct FuzzTests {
  @Test(arguments: [1, 2, 3, 4] as [UInt64])
  func noArgumentsOfAHostcallBreakTheHost(seed: UInt64) throws {
    var random = Generator(state: seed)
    let harness = try Harness { $0.upstreams = ["", "a", ":path"] }
    let functions = HostImport.all.map(\.function)
    // The front answers whatever it likes.
    var answers = Generator(state: seed &* 17)
    harness.services.front = { _ in
      let kind = answers.next()
      guard kind % 8 > 0 else { return nil }
      let statuses = Status.allCases
      let status = kind % 3 == 0 ? statuses[Int(answers.next() % UInt64(statuses.count))] : .ok
      return (status, answers.next() >> (answers.next() % 64), [UInt8](repeating: 3, count: Int(answers.next() % 300)))
    }
    var statuses = Set<UInt32>()
    let memory = harness.guest.bytes.count
    // Names and blocks lie where random pointers find them.
    for offset in stride(from: 0, to: memory - 64, by: 64) {
      let block: [UInt8] = Array(":path".utf8) + [2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 97, 0, 98, 0]
      for (index, byte) in block.enumerated() { harness.guest.bytes[offset + index] = byte }
    }
    harness.guest.callbacks[.malloc] = { size, _, _ in UInt32(truncatingIfNeeded: random.argument(memory: memory)) }
    var inside = Generator(state: seed &* 31)
    let attack: (UInt32, UInt32, UInt32) -> UInt32? = { [unowned harness] _, _, _ in
      for _ in 0..<60 {
        let function = functions[Int(inside.next() % UInt64(functions.count))]
        let arguments = (0..<12).map { _ in inside.argument(memory: memory) }
        let (outcome, result) = harness.raw(function, arguments)
        if outcome == .returned, case .hostcall = function { statuses.insert(result) }
      }
      return UInt32(truncatingIfNeeded: inside.next())
    }
    for export in GuestExport.allCases where export != .malloc && export != .memoryAllocate {
      harness.guest.callbacks[export] = attack
    }
    for stream in 0..<150 as Range<UInt32> {
      try harness.run(.requestHeaders, stream: stream)
      try harness.run(.requestBody, text: "some of a body", stream: stream)
      try harness.run(.requestBody, text: String(repeating: "r", count: 3_000), stream: stream, end: true)
      try harness.host.tick()
      for kind in [CallbackKind.httpCallResponse, .grpcInitialMetadata, .grpcMessage, .grpcClose, .queueReady] {
        try Self.tell(harness, kind, UInt32(truncatingIfNeeded: inside.next() % 64))
      }
      try harness.run(.responseHeaders, stream: stream)
      try harness.run(.responseBody, text: "some of a body", stream: stream)
      try harness.run(.responseTrailers, trailers: [("grpc-status", "0")], stream: stream)
      try harness.run(.newConnection, stream: stream + 1_000, first: true)
      try harness.run(.downstreamData, text: "data", stream: stream + 1_000)
      try harness.run(.upstreamData, text: "data", stream: stream + 1_000, end: true)
      if stream % 3 != 0 { try harness.run(.streamDone, stream: stream + 1_000) }
      if stream % 3 != 0 { try harness.run(.streamDone, stream: stream) }
      // Every reply that it made must be one that the front can read.
      _ = try harness.replies()
    }
    #expect(statuses.isSubset(of: Set(Status.allCases.map(\.rawValue))))
  }

  /// Something that came for a call out, or a message in a queue.
  private static func tell(_ harness: Harness, _ kind: CallbackKind, _ token: UInt32) throws {
    let pairs = CalloutTests.block([("a", "b")])
    try harness.tell(kind, loop: Int(token % 3)) { writer in
      pairs.withUnsafeBytes { pairs in
        switch kind {
        case .httpCallResponse:
          writer.httpCallResult(token: token, serializedHeaders: pairs, body: pairs, serializedTrailers: pairs)
        case .grpcClose: writer.grpcEnd(token: token, status: token % 17, message: pairs)
        case .queueReady: writer.u32(token)
        default: writer.grpcEvent(token: token, pairs)
        }
      }
    }
  }

  @Test(arguments: [11, 12] as [UInt64])
  func randomExpressionsNeverBreakTheHost(seed: UInt64) throws {
    var random = Generator(state: seed)
    let pieces = [
      "request", ".", "headers", "[", "]", "(", ")", "'a'", "\"b\"", "1", "2u", "3.5", "9223372036854775807", "-", "+",
      "*",
      "/", "%", "==", "!=", "<", ">=", "&&", "||", "!", "?", ":", ",", "{", "}", " in ", "size", "matches", "contains",
      "startsWith", "int", "uint", "string", "double", "has", "true", "null", "b'\\xff'", "r'(a|b)*$'", "response",
      "code",
      "'[a-'", "'(x{9}){9}'", "\\", "\u{0}", "'''", "0x", "1e", "\n", "//",
    ]
    let harness = try Harness()
    var values = 0
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      let start = harness.guest.put([])
      for _ in 0..<4_000 {
        harness.guest.reset(to: start.0)
        let count = 1 + random.next() % 14
        let text = (0..<count).map { _ in pieces[Int(random.next() % UInt64(pieces.count))] }.joined()
        if harness.evaluate(text) != nil { values += 1 }
      }
      return 0
    }
    try harness.run(.requestHeaders)
    #expect(values > 20)
  }

  @Test(arguments: [
    "sign", "verify_signature", "declare_property", "set_envoy_filter_state", "uncompress", "expr_evaluate",
  ])
  func randomArgumentsNeverBreakAForeignFunction(name: String) throws {
    var random = Generator(state: 77)
    let harness = try Harness { $0.upstreams = ["a"] }
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      let start = harness.guest.put([])
      for _ in 0..<3_000 {
        harness.guest.reset(to: start.0)
        // Small numbers are tags and lengths, most of them.
        let bytes = (0..<random.next() % 24).map { _ in
          random.next() % 6 == 0 ? UInt8(truncatingIfNeeded: random.next()) : UInt8(random.next() % 45)
        }
        _ = harness.foreign(name, bytes)
        _ = harness.grpcStream(bytes)
      }
      return 0
    }
    try harness.run(.requestHeaders)
    _ = try harness.replies()
  }

  @Test func randomBlocksNeverBecomeBrokenMaps() throws {
    var random = Generator(state: 99)
    let harness = try Harness()
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      for _ in 0..<3_000 {
        var block: [UInt8] = []
        let count = random.next() % 4
        for shift in 0..<4 { block.append(UInt8(truncatingIfNeeded: count >> (8 * UInt64(shift)))) }
        for _ in 0..<(random.next() % 40) { block.append(UInt8(truncatingIfNeeded: random.next() % 5)) }
        let at: UInt32 = 4_096
        for (index, byte) in block.enumerated() { harness.guest.bytes[Int(at) + index] = byte }
        harness.call(.setHeaderMapPairs, 0, at, UInt32(block.count))
        harness.call(.sendLocalResponse, 200, 0, 0, 0, 0, at, UInt32(block.count), 0)
      }
      return 0
    }
    try harness.run(.requestHeaders)
    _ = try harness.reply()
  }

  @Test func randomBytesNeverBecomeARecordThatBreaksTheHost() throws {
    var random = Generator(state: 5)
    let harness = try Harness()
    var accepted = 0
    for _ in 0..<20_000 {
      var bytes: [UInt8] = [UInt8(truncatingIfNeeded: 3 + random.next() % 13), 0, UInt8(random.next() % 4), 0]
      for _ in 0..<12 { bytes.append(UInt8(truncatingIfNeeded: random.next() % 3)) }
      for _ in 0..<(16 + random.next() % 8) { bytes.append(random.next() % 4 == 0 ? UInt8(random.next() % 6) : 0) }
      bytes.withUnsafeBytes { buffer in
        guard let record = try? CallbackRecord(buffer) else { return }
        accepted += 1
        try? harness.host.run(record, loop: 0)
      }
    }
    #expect(accepted > 0)
  }
}
