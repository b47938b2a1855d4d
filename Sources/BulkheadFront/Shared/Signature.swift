import CCrypto

/// Signing and verifying with OpenSSL, as Envoy's foreign functions `sign` and `verify_signature` do: RSA with PKCS #1
/// padding, and ECDSA.
///
/// Pure functions of bytes; every object of the library is freed on every path.
enum Signature {
  enum Outcome: Equatable, Sendable {
    /// The signature; empty for a signature that was verified.
    case done([UInt8])
    /// It cannot be, or the signature is not the text's: why, for the plugin.
    case failed(String)
  }

  /// The most bits of an RSA key: twice as many take eight times as long.
  static let maximumRSABits = 8_192
  /// The most bits of a curve.
  static let maximumCurveBits = 1_024

  /// - Parameters:
  ///   - hash: `sha1`, `sha224`, `sha256`, `sha384` or `sha512`, in any case.
  ///   - key: a private key, in PEM (PKCS #8, PKCS #1, SEC 1; not encrypted) or DER.
  static func sign(hash: [UInt8], key: [UInt8], text: [UInt8]) -> Outcome {
    defer { ERR_clear_error() }
    guard let digest = digest(hash) else { return unknown(hash) }
    guard let key = Key(private: key) else { return .failed("the private key cannot be read") }
    if let refusal = key.refusal { return .failed(refusal) }
    guard let context = EVP_MD_CTX_new() else { return .failed("out of memory") }
    defer { EVP_MD_CTX_free(context) }
    guard EVP_DigestSignInit(context, nil, digest, nil, key.pointer) == 1 else {
      return .failed("the private key does not sign with this hash function")
    }
    var length = 0
    guard EVP_DigestSign(context, nil, &length, text, text.count) == 1, length > 0, length <= 65_536 else {
      return .failed("signing failed")
    }
    var signature = [UInt8](repeating: 0, count: length)
    guard EVP_DigestSign(context, &signature, &length, text, text.count) == 1, length <= signature.count else {
      return .failed("signing failed")
    }
    signature.removeLast(signature.count - length)
    return .done(signature)
  }

  /// - Parameter key: a public key: `SubjectPublicKeyInfo` in PEM or DER.
  static func verify(hash: [UInt8], key: [UInt8], signature: [UInt8], text: [UInt8]) -> Outcome {
    defer { ERR_clear_error() }
    guard let digest = digest(hash) else { return unknown(hash) }
    guard let key = Key(public: key) else { return .failed("the public key cannot be read") }
    if let refusal = key.refusal { return .failed(refusal) }
    guard let context = EVP_MD_CTX_new() else { return .failed("out of memory") }
    defer { EVP_MD_CTX_free(context) }
    guard EVP_DigestVerifyInit(context, nil, digest, nil, key.pointer) == 1 else {
      return .failed("the public key does not verify with this hash function")
    }
    let result = EVP_DigestVerify(context, signature, signature.count, text, text.count)
    return result == 1 ? .done([]) : .failed("the signature is not that of the text")
  }

  private static func unknown(_ hash: [UInt8]) -> Outcome {
    .failed("\(String(decoding: hash.prefix(64), as: UTF8.self)) is not supported.")
  }

  private static func digest(_ name: [UInt8]) -> OpaquePointer? {
    switch String(decoding: name.prefix(16), as: UTF8.self).lowercased() {
    case "sha1": EVP_sha1()
    case "sha224": EVP_sha224()
    case "sha256": EVP_sha256()
    case "sha384": EVP_sha384()
    case "sha512": EVP_sha512()
    default: nil
    }
  }

  /// A key of the library.
  private struct Key: ~Copyable {
    let pointer: OpaquePointer

    deinit { EVP_PKEY_free(pointer) }

    init?(private bytes: [UInt8]) {
      // Without a function that refuses, the library would ask for a password on the terminal.
      let key =
        Self.isPEM(bytes)
        ? Self.readPEM(bytes) { PEM_read_bio_PrivateKey($0, nil, { _, _, _, _ in -1 }, nil) }
        : Self.readDER(bytes) { d2i_AutoPrivateKey(nil, &$0, $1) }
      guard let key else { return nil }
      pointer = key
    }

    init?(public bytes: [UInt8]) {
      let key =
        Self.isPEM(bytes)
        ? Self.readPEM(bytes) { PEM_read_bio_PUBKEY($0, nil, { _, _, _, _ in -1 }, nil) }
        : Self.readDER(bytes) { d2i_PUBKEY(nil, &$0, $1) }
      guard let key else { return nil }
      pointer = key
    }

    /// Why a key that can be read is not used: only what is understood, and what takes a bounded time.
    var refusal: String? {
      let bits = Int(EVP_PKEY_get_bits(pointer))
      switch EVP_PKEY_get_base_id(pointer) {
      case EVP_PKEY_RSA:
        return bits <= Signature.maximumRSABits
          ? nil : "an RSA key has at most \(Signature.maximumRSABits) bits here, this one has \(bits)"
      case EVP_PKEY_EC:
        return bits <= Signature.maximumCurveBits
          ? nil : "a curve has at most \(Signature.maximumCurveBits) bits here, this one has \(bits)"
      default: return "only RSA and EC keys are supported"
      }
    }

    /// DER begins with a SEQUENCE; PEM may have any text before its first line.
    private static func isPEM(_ bytes: [UInt8]) -> Bool { bytes.first != 0x30 }

    private static func readPEM(_ bytes: [UInt8], _ read: (OpaquePointer) -> OpaquePointer?) -> OpaquePointer? {
      bytes.withUnsafeBytes { buffer in
        guard let bio = BIO_new_mem_buf(buffer.baseAddress, Int32(clamping: buffer.count)) else { return nil }
        defer { BIO_free(bio) }
        return read(bio)
      }
    }

    private static func readDER(
      _ bytes: [UInt8], _ read: (inout UnsafePointer<UInt8>?, Int) -> OpaquePointer?
    ) -> OpaquePointer? {
      bytes.withUnsafeBufferPointer { buffer in
        var cursor = buffer.baseAddress
        return buffer.isEmpty ? nil : read(&cursor, buffer.count)
      }
    }
  }
}
