import CCrypto

/// Signing and verifying with OpenSSL, as Envoy's foreign functions `sign` and `verify_signature` do: RSA with PKCS #1
/// padding, and ECDSA.
///
/// Pure functions of bytes; every object of the library is freed on every path. They run in the plugin's own worker: keys
/// are the plugin's choice, and a key that harms the library harms nobody else. Nothing interrupts one that has begun; the
/// bounds of `SignatureKey` and `maximumTextBytes` keep the longest, with an RSA key of 8,192 bits, to about 0.15 s.
public enum Signature {
  /// Keys and signatures: bytes. An RSA key of 8,192 bits has less than 7 KiB in PEM.
  static let maximumKeyBytes = 16 << 10
  /// What is signed: bytes.
  static let maximumTextBytes = 1 << 20

  /// Loads libcrypto, which the other functions need: afterwards they work under the worker's seccomp filter and without
  /// any file. Until then all of them answer that it is not there.
  ///
  /// - Returns: why there is none, for people; nil where it is loaded.
  public static func loadLibrary() -> String? {
    bh_crypto_load().map { String(cString: $0) }
  }

  enum Outcome: Equatable, Sendable {
    /// The signature; empty for a signature that was verified.
    case done([UInt8])
    /// It cannot be, or the signature is not the text's: why, for the plugin.
    case failed(String)
  }

  /// - Parameters:
  ///   - hash: `sha1`, `sha224`, `sha256`, `sha384` or `sha512`, in any case.
  ///   - key: a private key, in PEM (PKCS #8, PKCS #1, SEC 1; not encrypted) or DER.
  static func sign(hash: [UInt8], key: [UInt8], text: [UInt8]) -> Outcome {
    guard bh_crypto_is_loaded() else { return missing }
    defer { bh_ERR_clear_error() }
    guard let digest = digest(hash) else { return unknown(hash) }
    guard let key = SignatureKey(private: key) else {
      return .failed("the private key cannot be read, and only RSA and EC keys are supported")
    }
    if let refusal = key.refusal { return .failed(refusal) }
    guard let context = bh_EVP_MD_CTX_new() else { return .failed("out of memory") }
    defer { bh_EVP_MD_CTX_free(context) }
    guard bh_EVP_DigestSignInit(context, digest, key.pointer) == 1 else {
      return .failed("the private key does not sign with this hash function")
    }
    var length = 0
    guard bh_EVP_DigestSign(context, nil, &length, text, text.count) == 1, length > 0, length <= 65_536 else {
      return .failed("signing failed")
    }
    var signature = [UInt8](repeating: 0, count: length)
    guard bh_EVP_DigestSign(context, &signature, &length, text, text.count) == 1, length <= signature.count else {
      return .failed("signing failed")
    }
    signature.removeLast(signature.count - length)
    return .done(signature)
  }

  /// - Parameter key: a public key: `SubjectPublicKeyInfo` in PEM or DER.
  static func verify(hash: [UInt8], key: [UInt8], signature: [UInt8], text: [UInt8]) -> Outcome {
    guard bh_crypto_is_loaded() else { return missing }
    defer { bh_ERR_clear_error() }
    guard let digest = digest(hash) else { return unknown(hash) }
    guard let key = SignatureKey(public: key) else {
      return .failed("the public key cannot be read, and only RSA and EC keys are supported")
    }
    if let refusal = key.refusal { return .failed(refusal) }
    guard let context = bh_EVP_MD_CTX_new() else { return .failed("out of memory") }
    defer { bh_EVP_MD_CTX_free(context) }
    guard bh_EVP_DigestVerifyInit(context, digest, key.pointer) == 1 else {
      return .failed("the public key does not verify with this hash function")
    }
    let result = bh_EVP_DigestVerify(context, signature, signature.count, text, text.count)
    return result == 1 ? .done([]) : .failed("the signature is not that of the text")
  }

  private static var missing: Outcome { .failed("this host has no libcrypto") }

  private static func unknown(_ hash: [UInt8]) -> Outcome {
    .failed("\(String(decoding: hash.prefix(64), as: UTF8.self)) is not supported.")
  }

  private static func digest(_ name: [UInt8]) -> OpaquePointer? {
    switch String(decoding: name.prefix(16), as: UTF8.self).lowercased() {
    case "sha1": bh_EVP_sha1()
    case "sha224": bh_EVP_sha224()
    case "sha256": bh_EVP_sha256()
    case "sha384": bh_EVP_sha384()
    case "sha512": bh_EVP_sha512()
    default: nil
    }
  }
}
