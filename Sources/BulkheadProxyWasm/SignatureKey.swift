import CCrypto

/// A key of OpenSSL, from a plugin's bytes: RSA or EC, and such that its use takes a bounded time.
///
/// The library is told beforehand which kinds of keys to expect: to read one of another kind, DSA with its parameters for
/// example, can take longer than to use it.
struct SignatureKey: ~Copyable {
  let pointer: OpaquePointer

  deinit { bh_EVP_PKEY_free(pointer) }

  /// - Parameter bytes: a private key, in PEM (PKCS #8, PKCS #1, SEC 1; not encrypted) or DER.
  init?(private bytes: [UInt8]) {
    let selection = Self.publicSelection | OSSL_KEYMGMT_SELECT_PRIVATE_KEY
    guard let key = Self.read(bytes, selection: selection, structure: nil) else { return nil }
    pointer = key
  }

  /// - Parameter bytes: `SubjectPublicKeyInfo` in PEM or DER.
  init?(public bytes: [UInt8]) {
    guard let key = Self.read(bytes, selection: Self.publicSelection, structure: "SubjectPublicKeyInfo") else {
      return nil
    }
    pointer = key
  }

  // MARK: Reading

  private static let publicSelection =
    OSSL_KEYMGMT_SELECT_PUBLIC_KEY | OSSL_KEYMGMT_SELECT_DOMAIN_PARAMETERS | OSSL_KEYMGMT_SELECT_OTHER_PARAMETERS

  /// What a text in PEM may have before its key, other parts included.
  private static let maximumParts = 8

  private static func read(_ bytes: [UInt8], selection: Int32, structure: String?) -> OpaquePointer? {
    bytes.withUnsafeBytes { bytes in
      // DER begins with a SEQUENCE; PEM may have any text before its first line.
      if bytes.first == 0x30 { return decode(bytes, selection, structure) }
      // The library's own decoder of PEM stops, or does not, at a part that is no key: by the order in which it happens
      // to find the kinds.
      guard let text = bh_BIO_new_mem_buf(bytes.baseAddress, Int32(clamping: bytes.count)) else { return nil }
      defer { bh_BIO_free(text) }
      for _ in 0..<maximumParts {
        guard let part = PEMPart(next: text) else { return nil }
        // A file of an EC key may begin with the curve alone.
        if part.isKey, let key = decode(part.bytes, selection, structure) { return key }
      }
      return nil
    }
  }

  private static func decode(
    _ bytes: UnsafeRawBufferPointer, _ selection: Int32, _ structure: String?
  ) -> OpaquePointer? {
    // OpenSSL 3.0 sometimes finds no decoder where two threads look for one at the same time. A worker has one thread:
    // nobody waits here but tests.
    bh_crypto_lock()
    defer { bh_crypto_unlock() }
    for kind in ["RSA", "EC"] {
      if let key = decode(bytes, kind, selection, structure) { return key }
    }
    return nil
  }

  private static func decode(
    _ bytes: UnsafeRawBufferPointer, _ kind: String, _ selection: Int32, _ structure: String?
  ) -> OpaquePointer? {
    var key: OpaquePointer?
    return withUnsafeMutablePointer(to: &key) { key in
      // It keeps the place of the key. Nobody is asked for a password: there is none.
      guard let decoder = bh_OSSL_DECODER_CTX_new_for_pkey(key, "DER", structure, kind, selection) else {
        return nil
      }
      defer { bh_OSSL_DECODER_CTX_free(decoder) }
      var next = bytes.bindMemory(to: UInt8.self).baseAddress
      var left = bytes.count
      if bh_OSSL_DECODER_from_data(decoder, &next, &left) == 1, let found = key.pointee { return found }
      if let found = key.pointee { bh_EVP_PKEY_free(found) }
      return nil
    }
  }

  /// One part of a text in PEM, from its BEGIN to its END, and what comes before it.
  private struct PEMPart: ~Copyable {
    private var name: UnsafeMutablePointer<CChar>?
    private var header: UnsafeMutablePointer<CChar>?
    private var data: UnsafeMutablePointer<UInt8>?
    private var length = 0

    init?(next text: OpaquePointer) {
      guard bh_PEM_read_bio(text, &name, &header, &data, &length) == 1 else { return nil }
    }

    deinit {
      bh_CRYPTO_free(name)
      bh_CRYPTO_free(header)
      bh_CRYPTO_clear_free(data, max(length, 0))
    }

    /// Whether it is a key that no password protects.
    var isKey: Bool {
      guard let name, header.map({ $0.pointee == 0 }) ?? true else { return false }
      let text = String(cString: name)
      return text.hasSuffix(" KEY") && text != "ENCRYPTED PRIVATE KEY"
    }

    var bytes: UnsafeRawBufferPointer { .init(start: data, count: max(length, 0)) }
  }

  // MARK: Bounds

  /// The most bits of an RSA key: twice as many take eight times as long.
  static let maximumRSABits = 8_192
  /// The most bits of the exponent of a public RSA key.
  private static let maximumExponentBits = 64
  /// How far one of the two primes may be longer than half of the key.
  private static let primeSlack = 64
  /// The most bits of a curve.
  static let maximumCurveBits = 1_024

  /// Why a key that can be read is not used: only what is understood, and what takes a bounded time.
  var refusal: String? {
    let bits = Int(bh_EVP_PKEY_get_bits(pointer))
    switch bh_EVP_PKEY_get_base_id(pointer) {
    case EVP_PKEY_RSA:
      guard bits <= Self.maximumRSABits else {
        return "an RSA key has at most \(Self.maximumRSABits) bits here, this one has \(bits)"
      }
      return refusalOfNumbers(bits)
    case EVP_PKEY_EC:
      guard bits <= Self.maximumCurveBits else {
        return "a curve has at most \(Self.maximumCurveBits) bits here, this one has \(bits)"
      }
      return bh_EVP_PKEY_has_group_name(pointer) == 1 ? nil : "only EC keys of a named curve are supported"
    default: return "only RSA and EC keys are supported"
    }
  }

  /// The numbers of an RSA key need not fit each other: the library computes with them as they are.
  private func refusalOfNumbers(_ bits: Int) -> String? {
    let half = bits / 2 + Self.primeSlack
    let bounds = [
      ("e", Self.maximumExponentBits), ("d", bits), ("rsa-factor1", half), ("rsa-factor2", half),
      ("rsa-exponent1", half), ("rsa-exponent2", half), ("rsa-coefficient1", half),
    ]
    for (name, most) in bounds {
      if let own = self.bits(of: name), own > most {
        return "the number \(name) of this RSA key has \(own) bits, and may have \(most)"
      }
    }
    return self.bits(of: "rsa-factor3") == nil ? nil : "only RSA keys of two primes are supported"
  }

  /// nil where the key has no such number.
  private func bits(of name: String) -> Int? {
    var number: OpaquePointer?
    guard bh_EVP_PKEY_get_bn_param(pointer, name, &number) == 1, let number else { return nil }
    defer { bh_BN_clear_free(number) }
    return Int(bh_BN_num_bits(number))
  }
}
