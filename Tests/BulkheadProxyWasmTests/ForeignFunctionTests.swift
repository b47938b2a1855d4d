import BulkheadCore
import BulkheadProxyWasm
import BulkheadWire
import ProxyWasmABI
import Testing

@Suite struct ForeignFunctionTests {
  /// A protobuf field of bytes.
  private static func field(_ number: UInt8, _ text: String) -> [UInt8] {
    [number << 3 | 2, UInt8(text.utf8.count)] + Array(text.utf8)
  }

  @Test func whatIsNotRegisteredIsNotFound() throws {
    let harness = try Harness()
    #expect(harness.foreign("no_such_function").status == .notFound)
    #expect(harness.call(.callForeignFunction, .max, 8, 0, 0, 0, 0) == .invalidMemoryAccess)
    #expect(harness.foreign("clear_route_cache").status == .ok)
  }

  @Test func resultsAreOptional() throws {
    let harness = try Harness()
    let (name, size) = harness.guest.put("compress")
    #expect(harness.call(.callForeignFunction, name, size, 0, 0, 0, 0) == .ok)
    #expect(harness.call(.callForeignFunction, name, size, 0, 0, 0, harness.out) == .ok)
    #expect(harness.guest.word(harness.out) == 8)
    #expect(harness.call(.callForeignFunction, name, size, 0, 0, harness.out, 0) == .ok)
    #expect(harness.guest.word(harness.out) != 0)
    #expect(harness.call(.callForeignFunction, name, size, 0, 0, .max, harness.out) == .invalidMemoryAccess)
  }

  @Test(arguments: [0, 1, 1_000, 40_000])
  func whatIsCompressedIsUncompressedToTheSame(count: Int) throws {
    let harness = try Harness()
    let text = (0..<count).map { UInt8(truncatingIfNeeded: $0 / 7) }
    let (status, compressed) = harness.foreign("compress", text)
    #expect(status == .ok && compressed.first == 0x78)
    #expect(harness.foreign("uncompress", compressed).result == text)
    #expect(harness.foreign("uncompress", compressed + [1, 2, 3]).result == text)
    #expect(harness.foreign("uncompress", Array(compressed.dropLast())).status == .serializationFailure)
  }

  @Test func whatIsNotCompressedOrTooLargeIsRefused() throws {
    let harness = try Harness()
    #expect(harness.foreign("uncompress", [1, 2, 3, 4]).status == .serializationFailure)
    #expect(harness.foreign("uncompress").status == .serializationFailure)
    #expect(harness.foreign("uncompress", Self.bomb).status == .serializationFailure)
    #expect(harness.services.logs.contains { $0.message.contains("at most 16777216 bytes") })
  }

  /// 17 MiB of zeroes: one literal, and then again and again 258 of the byte before.
  private static var bomb: [UInt8] {
    var bits: [Bool] = [true, true, false] + [false, false, true, true, false, false, false, false]
    let again = [true, true, false, false, false, true, false, true] + [Bool](repeating: false, count: 5)
    for _ in 0..<(17 << 20) / 258 { bits += again }
    var bytes: [UInt8] = [0x78, 0x9C]
    for start in stride(from: 0, to: bits.count, by: 8) {
      let piece = bits[start..<min(start + 8, bits.count)].enumerated()
      bytes.append(piece.reduce(0) { $0 | ($1.element ? 1 << UInt8($1.offset) : 0) })
    }
    return bytes
  }

  // MARK: Signatures

  @Test func aSignatureIsMadeAndVerifiedInTheWorker() throws {
    let missing = Signature.loadLibrary()
    #expect(missing == nil)
    let harness = try Harness()
    let (hash, text) = (Harness.protobuf(1, "sha256"), Harness.protobuf(3, "hello"))
    let signed = harness.foreign("sign", hash + Harness.protobuf(4, TestKeys.rsa) + text)
    #expect(signed.status == .ok && signed.result.starts(with: [0x08, 1, 0x12, 0x80, 1]))
    let signature = Array(signed.result.dropFirst(5))
    #expect(signature.map { String(UInt16($0) + 0x100, radix: 16).dropFirst() }.joined() == TestKeys.signature)
    func verify(_ text: String) -> (status: Status, result: [UInt8]) {
      harness.foreign(
        "verify_signature",
        hash + Harness.protobuf(5, TestKeys.rsaPublic) + [0x1A, 0x80, 1] + signature + Harness.protobuf(4, text))
    }
    #expect(verify("hello") == (.ok, [0x08, 1]))
    #expect(verify("another") == (.ok, Self.field(2, "the signature is not that of the text")))
    // Nobody else is asked.
    #expect(harness.services.questions.isEmpty)
  }

  @Test func aSignatureThatCannotBeMadeComesAsAMessage() throws {
    let missing = Signature.loadLibrary()
    #expect(missing == nil)
    let harness = try Harness()
    let (hash, key, text) = (Self.field(1, "md5"), Self.field(2, "der"), Self.field(3, "text"))
    #expect(harness.foreign("sign", hash + key + text) == (.ok, Self.field(3, "md5 is not supported.")))
    #expect(harness.foreign("verify_signature", hash + key) == (.ok, Self.field(2, "md5 is not supported.")))
    // No key, two keys, no message.
    #expect(harness.foreign("sign", hash + text).status == .badArgument)
    #expect(harness.foreign("sign", key + Self.field(4, "pem")).status == .badArgument)
    #expect(harness.foreign("sign", [0xFF]).status == .badArgument)
    #expect(harness.foreign("verify_signature", key + Self.field(5, "pem")).status == .badArgument)
  }

  // MARK: Properties

  @Test func aPropertyIsDeclaredOnceAndAReadOnlyOneIsSetOnce() throws {
    let harness = try Harness()
    #expect(harness.foreign("declare_property", Self.field(1, "mine") + [0x10, 1, 0x18, 1]).status == .ok)
    #expect(harness.foreign("declare_property", Self.field(1, "mine")).status == .badArgument)
    #expect(harness.foreign("declare_property", [0x0A, 9]).status == .badArgument)
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      let (path, size) = harness.guest.put("mine")
      #expect(harness.call(.setProperty, path, size, path, size) == .ok)
      #expect(harness.call(.setProperty, path, size, path, size) == .badArgument)
      #expect(harness.evaluate("mine == 'mine' && size(mine) == 4") == [1])
      return 0
    }
    try harness.run(.requestHeaders)
  }

  @Test func filterStateIsAPropertyOfTheStream() throws {
    let harness = try Harness()
    let arguments = Self.field(1, "envoy.string") + Self.field(2, "value")
    #expect(harness.foreign("set_envoy_filter_state", arguments).status == .notFound)
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      #expect(harness.foreign("set_envoy_filter_state", arguments).status == .ok)
      #expect(harness.foreign("set_envoy_filter_state", [0xFF]).status == .badArgument)
      #expect(harness.property("filter_state", "envoy.string") == Array("value".utf8))
      return 0
    }
    try harness.run(.requestHeaders)
    #expect(try harness.reply().edits == ["setProperty 0 filter_state\0envoy.string=value"])
  }
}
