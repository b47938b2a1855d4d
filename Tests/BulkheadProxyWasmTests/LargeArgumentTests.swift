import BulkheadCore
import BulkheadWire
import ProxyWasmABI
import Testing

@testable import BulkheadProxyWasm

/// What a guest names in megabytes is looked at for its length before anything of it is copied.
@Suite struct LargeArgumentTests {
  @Test func aMessageKeepsNoFieldsThatNobodyAsksFor() throws {
    var bytes: [UInt8] = []
    for number in 1...5_000 as ClosedRange<UInt32> {
      var tag = number << 3
      while tag >= 0x80 {
        bytes.append(UInt8(truncatingIfNeeded: tag) | 0x80)
        tag >>= 7
      }
      bytes += [UInt8(tag), UInt8(number & 0x7F)]
    }
    try bytes.withUnsafeBytes { message in
      let fields = try #require(ProtobufReader.fields(message))
      for number in 1...5 as ClosedRange<UInt64> { #expect(fields[number]?.number == number) }
      #expect(fields[6] == nil && fields[4_999] == nil && fields[0] == nil)
    }
  }

  @Test func anUpstreamThatIsLongerThanAnyNameIsNone() throws {
    let harness = try Harness { $0.upstreams = [String(repeating: "u", count: 5_000)] }
    let (at, size) = harness.guest.put(String(repeating: "u", count: 5_000))
    #expect(harness.call(.httpCall, at, size, 0, 0, 0, 0, 0, 0, 1_000, harness.out) == .badArgument)
  }

  @Test func aGRPCTargetIsBounded() throws {
    let harness = try Harness { $0.upstreams = ["grpc"] }
    let (at, size) = harness.guest.put([UInt8](repeating: 0x61, count: (64 << 10) + 1))
    let (name, nameSize) = harness.guest.put("s")
    let status = harness.call(
      .grpcCall, at, size, name, nameSize, name, nameSize, 0, 0, 0, 0, 1_000, harness.out)
    #expect(status == .parseFailure)
    #expect(harness.services.logs.contains { $0.message.contains("at most 65536") })
  }

  @Test(arguments: [(2, 20_000, "have at most 16384 bytes"), (3, 20_000, "have at most 16384 bytes")])
  func whatASignatureIsMadeOfIsBounded(number: UInt8, count: Int, why: String) throws {
    let harness = try Harness()
    let long = Harness.protobuf(number, String(repeating: "k", count: count))
    let arguments = Harness.protobuf(1, "sha256") + (number == 2 ? [] : Harness.protobuf(2, "key")) + long
    let (status, result) = harness.foreign("verify_signature", arguments)
    #expect(status == .ok && String(decoding: result, as: UTF8.self).contains(why))
    #expect(harness.services.logs.contains { $0.message.contains(why) })
  }

  @Test func thePathOfAPropertyIsBounded() throws {
    let harness = try Harness { $0.maximumRecord = 1 << 20 }
    let long = String(repeating: "p", count: Limits.maximumSharedKey + 1)
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      let (path, size) = harness.guest.put(long)
      #expect(harness.call(.setProperty, path, size, path, 1) == .internalFailure)
      let state = Harness.protobuf(1, long) + Harness.protobuf(2, "v")
      #expect(harness.foreign("set_envoy_filter_state", state).status == .internalFailure)
      #expect(harness.foreign("declare_property", Harness.protobuf(1, long)).status == .internalFailure)
      return 0
    }
    try harness.run(.requestHeaders)
    #expect(try harness.reply().edits.isEmpty)
    #expect(harness.services.logs.count { $0.message.contains("4096") } == 3)
  }
}

extension Harness {
  /// A field of bytes.
  static func protobuf(_ number: UInt8, _ text: String) -> [UInt8] {
    var bytes: [UInt8] = [number << 3 | 2]
    var count = text.utf8.count
    while count >= 0x80 {
      bytes.append(UInt8(count & 0x7F) | 0x80)
      count >>= 7
    }
    return bytes + [UInt8(count)] + Array(text.utf8)
  }
}
