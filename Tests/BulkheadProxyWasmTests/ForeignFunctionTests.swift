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

  @Test func aSignatureIsAskedOfTheFrontAndComesAsAMessage() throws {
    let harness = try Harness()
    harness.services.front = { _ in (.ok, 0, [1, 2, 3]) }
    let (hash, key, text) = (Self.field(1, "sha256"), Self.field(2, "der"), Self.field(3, "text"))
    #expect(harness.foreign("sign", hash + key + text) == (.ok, [0x08, 1, 0x12, 3, 1, 2, 3]))
    #expect(harness.foreign("sign", hash + Self.field(4, "pem") + text).status == .ok)
    #expect(
      harness.services.questions == [
        FakeServices.Question(call: .sign, key: "sha256", value: "der", extra: "text"),
        FakeServices.Question(call: .sign, key: "sha256", value: "pem", extra: "text"),
      ])
    // No key, two keys, no message.
    #expect(harness.foreign("sign", hash + text).status == .badArgument)
    #expect(harness.foreign("sign", key + Self.field(4, "pem")).status == .badArgument)
    #expect(harness.foreign("sign", [0xFF]).status == .badArgument)
    harness.services.front = { _ in (.badArgument, 0, Array("why".utf8)) }
    #expect(harness.foreign("sign", hash + key + text) == (.ok, Self.field(3, "why")))
  }

  @Test func aVerificationSaysTrueOrWhyNot() throws {
    let harness = try Harness()
    let arguments =
      Self.field(1, "sha1") + Self.field(2, "der") + Self.field(3, "signature") + Self.field(4, "text")
    #expect(harness.foreign("verify_signature", arguments) == (.ok, [0x08, 1]))
    harness.services.front = { _ in (.badArgument, 0, Array("no".utf8)) }
    #expect(harness.foreign("verify_signature", arguments) == (.ok, Self.field(2, "no")))
    #expect(
      harness.services.questions.first
        == FakeServices.Question(
          call: .verifySignature, key: "\u{4}\0\0\0sha1der", value: "signature", extra: "text"))
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
