import Foundation
import Testing

@testable import BulkheadProxyWasm

/// Signing and verifying, with keys in every form that is taken.
@Suite struct SignatureTests {
  init() throws {
    let missing = Signature.loadLibrary()
    #expect(missing == nil)
  }

  private static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

  private static func der(_ pem: String) -> [UInt8] {
    let lines = pem.split(separator: "\n").drop { !$0.hasPrefix("-----") }.filter { !$0.hasPrefix("-----") }
    return [UInt8](Data(base64Encoded: lines.joined()) ?? Data())
  }

  private static let text = bytes("hello")

  static let keys: [(key: [UInt8], publicKey: [UInt8])] = {
    let pairs = [
      (TestKeys.rsa, TestKeys.rsaPublic), (TestKeys.rsaOld, TestKeys.rsaPublic), (TestKeys.ec, TestKeys.ecPublic),
      (TestKeys.ecOld, TestKeys.ecPublic), ("A key.\n" + TestKeys.ec, "\n" + TestKeys.ecPublic),
    ]
    return pairs.flatMap { [(bytes($0), bytes($1)), (der($0), der($1))] }
  }()

  @Test(arguments: keys.indices, ["sha1", "sha224", "sha256", "SHA384", "Sha512"])
  func whatIsSignedIsVerified(pair: Int, hash: String) throws {
    let (key, publicKey) = Self.keys[pair]
    guard case .done(let signature) = Signature.sign(hash: Self.bytes(hash), key: key, text: Self.text) else {
      Issue.record("nothing was signed")
      return
    }
    let verify = { (signature: [UInt8], text: [UInt8]) in
      Signature.verify(hash: Self.bytes(hash), key: publicKey, signature: signature, text: text)
    }
    #expect(verify(signature, Self.text) == .done([]))
    #expect(verify(signature, Self.text + [0]) != .done([]))
    #expect(verify(signature.dropLast() + [(signature.last ?? 0) ^ 1], Self.text) != .done([]))
    #expect(verify([], Self.text) != .done([]))
    #expect(verify(signature, []) != .done([]))
  }

  @Test func anRSASignatureIsThatOfOtherPrograms() {
    guard
      case .done(let signature) = Signature.sign(
        hash: Self.bytes("sha256"), key: Self.bytes(TestKeys.rsa), text: Self.text)
    else {
      Issue.record("nothing was signed")
      return
    }
    let hex = signature.map { String(UInt16($0) + 0x100, radix: 16).dropFirst() }.joined()
    #expect(hex == TestKeys.signature)
  }

  @Test(arguments: [
    ("md5", TestKeys.rsa, "md5 is not supported."), ("", TestKeys.rsa, " is not supported."),
    ("sha256", "", "cannot be read"), ("sha256", "-----BEGIN PRIVATE KEY-----", "cannot be read"),
    ("sha256", TestKeys.rsaPublic, "cannot be read"), ("sha256", TestKeys.encrypted, "cannot be read"),
    ("sha256", "\u{30}\u{3}\u{2}\u{1}\u{0}", "cannot be read"),
    ("sha256", TestKeys.edwards, "only RSA and EC"),
  ])
  func whatCannotSignSaysWhy(hash: String, key: String, why: String) {
    guard
      case .failed(let message) = Signature.sign(hash: Self.bytes(hash), key: Self.bytes(key), text: Self.text)
    else {
      Issue.record("it was signed")
      return
    }
    #expect(message.contains(why))
  }

  // MARK: Keys that would take long

  /// DER: a tag, the length and the content.
  private static func element(_ tag: UInt8, _ content: [UInt8]) -> [UInt8] {
    [tag, 0x83, UInt8(content.count >> 16 & 0xFF), UInt8(content.count >> 8 & 0xFF), UInt8(content.count & 0xFF)]
      + content
  }

  /// PKCS #1, with numbers of so many bytes.
  private static func rsa(
    n: Int = 256, e: Int = 3, d: Int = 256, p: Int = 128, q: Int = 128, dp: Int = 128, dq: Int = 128, qi: Int = 128,
    extraPrime: Bool = false
  ) -> [UInt8] {
    func number(_ count: Int) -> [UInt8] { element(2, [0x41] + [UInt8](repeating: 0x5B, count: count - 1)) }
    var numbers = element(2, [extraPrime ? 1 : 0]) + [n, e, d, p, q, dp, dq, qi].flatMap(number)
    if extraPrime { numbers += element(0x30, element(0x30, number(16) + number(16) + number(16))) }
    return element(0x30, numbers)
  }

  static let slowKeys: [(key: [UInt8], why: String)] = [
    (rsa(n: 1_100, d: 1_100), "at most 8192 bits"), (rsa(e: 200), "e of this RSA key"),
    (rsa(d: 4_000), "d of this RSA key"), (rsa(p: 4_000), "rsa-factor1"), (rsa(q: 4_000), "rsa-factor2"),
    (rsa(dp: 8_000), "rsa-exponent1"), (rsa(dq: 8_000), "rsa-exponent2"), (rsa(qi: 8_000), "rsa-coefficient1"),
    (rsa(extraPrime: true), "two primes"), (bytes(TestKeys.dsa), "only RSA and EC"),
    (der(TestKeys.dsa), "only RSA and EC"),
  ]

  @Test(.timeLimit(.minutes(1)), arguments: slowKeys.indices)
  func aKeyThatWouldTakeLongIsRefused(index: Int) {
    let (key, why) = Self.slowKeys[index]
    guard case .failed(let message) = Signature.sign(hash: Self.bytes("sha256"), key: key, text: Self.text) else {
      Issue.record("it was signed")
      return
    }
    #expect(message.contains(why), "\(message)")
  }

  @Test func aKeyBehindItsCurveIsFound() {
    let key = Self.bytes(
      "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n" + TestKeys.ecOld)
    guard case .done = Signature.sign(hash: Self.bytes("sha256"), key: key, text: Self.text) else {
      Issue.record("nothing was signed")
      return
    }
  }

  @Test(arguments: [("sha256", TestKeys.rsa), ("sha256", TestKeys.edwardsPublic), ("none", TestKeys.rsaPublic)])
  func whatCannotVerifySaysWhy(hash: String, key: String) {
    guard
      case .failed = Signature.verify(
        hash: Self.bytes(hash), key: Self.bytes(key), signature: [1, 2, 3], text: Self.text)
    else {
      Issue.record("it was verified")
      return
    }
  }

  @Test func noBytesAtAllTrap() {
    var random = SystemRandomNumberGenerator()
    let samples = Self.keys.flatMap { [$0.key, $0.publicKey] }
    for round in 0..<2_000 {
      var key = samples[round % samples.count]
      for _ in 0..<Int.random(in: 0...3, using: &random) where !key.isEmpty {
        key[Int.random(in: key.indices, using: &random)] = .random(in: 0...255, using: &random)
      }
      if round % 3 == 0 { key.removeLast(Int.random(in: 0...key.count, using: &random)) }
      _ = Signature.verify(hash: Self.bytes("sha256"), key: key, signature: key, text: Self.text)
      if round % 8 == 0 { _ = Signature.sign(hash: Self.bytes("sha1"), key: key, text: Self.text) }
    }
  }
}
