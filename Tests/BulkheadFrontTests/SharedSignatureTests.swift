import Foundation
import Testing

@testable import BulkheadFront

/// Signing and verifying, with keys in every form that is taken.
@Suite struct SharedSignatureTests {
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
