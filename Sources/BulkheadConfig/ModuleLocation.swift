import Glibc

/// Reads `spec.url`: a file of this machine.
struct ModuleLocation {
  let source: Source

  /// The absolute path of the module, which must be a file that can be read.
  func path(_ field: Field) -> String? {
    guard let url = field.nonEmptyString() else { return nil }
    guard let path = filePath(url, field) else { return nil }
    guard !path.isEmpty, !path.utf8.contains(0) else {
      field.report("'\(url)' names no file")
      return nil
    }
    let absolute = Path.absolute(path, from: source.directory)
    if let why = FileAccess.whyUnreadable(absolute) {
      field.report(absolute, why, advice: why.code == ENOENT && Self.isImage(url) ? Self.imageAdvice : "")
      return nil
    }
    if let bytes = FileAccess.beginning(of: absolute, atMost: ModuleFormat.sniffedBytes),
      let flaw = ModuleFormat.flaw(bytes)
    {
      field.report("\(absolute) \(flaw)")
      return nil
    }
    return absolute
  }

  private func filePath(_ url: String, _ field: Field) -> String? {
    guard let scheme = scheme(of: url) else { return url }
    switch scheme {
    case "file": break
    case "oci", "http", "https":
      field.report("\(scheme): is not supported yet: get the module and give its file (file:///..., or a path)")
      return nil
    default:
      field.report(
        "the scheme '\(scheme)' is unknown: give a file (file:///..., or a path)"
          + (Self.isImage(url) ? Self.imageAdvice : ""))
      return nil
    }
    var path = url.dropFirst("file:".count)
    if path.hasPrefix("//") {
      let authority = path.dropFirst(2).prefix { $0 != "/" }
      guard authority.isEmpty || authority == "localhost" else {
        field.report("file://\(authority)/ names another machine: write file:///... for a file of this one")
        return nil
      }
      path = path.dropFirst(2 + authority.count)
    }
    guard let decoded = Self.percentDecoded(path) else {
      field.report("'\(url)' holds a '%' without two hexadecimal digits, or text that is not UTF-8")
      return nil
    }
    return decoded
  }

  /// RFC 3986, section 3.1; nil where the text is a path.
  private func scheme(of url: String) -> String? {
    guard let colon = url.utf8.firstIndex(of: UInt8(ascii: ":")) else { return nil }
    let scheme = url.utf8[..<colon]
    guard let first = scheme.first, Self.isLetter(first) else { return nil }
    let isScheme = scheme.allSatisfy {
      Self.isLetter($0) || (0x30...0x39).contains($0) || $0 == 0x2B || $0 == 0x2D || $0 == 0x2E
    }
    return isScheme ? String(Substring(scheme)).lowercased() : nil
  }

  private static let imageAdvice =
    "; it looks like an image of a registry (oci://), which is not supported yet: get the module and give its file"

  /// Whether a text without a known scheme looks like an image of a registry: `ghcr.io/owner/plugin:1`,
  /// `localhost:5000/plugin`, `owner/plugin@sha256:...`.
  static func isImage(_ text: String) -> Bool {
    if text.contains("@sha256:") { return true }
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard let host = parts.first, let last = parts.last, parts.count > 1, !host.hasPrefix("."), !host.isEmpty,
      !last.hasSuffix(".wasm")
    else { return false }
    let hostParts = host.split(separator: ":", omittingEmptySubsequences: false)
    let hasPort = hostParts.count == 2 && !hostParts[1].isEmpty && hostParts[1].allSatisfy(\.isNumber)
    return hasPort || host.contains(".") || last.contains(":")
  }

  private static func isLetter(_ byte: UInt8) -> Bool { (0x61...0x7A).contains(byte | 0x20) }

  private static func percentDecoded(_ text: Substring) -> String? {
    var bytes: [UInt8] = []
    var rest = text.utf8[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      let digits = rest.prefix(2)
      guard digits.count == 2, digits.allSatisfy({ $0 != 0x2B && $0 != 0x2D }),
        let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
      else { return nil }
      bytes.append(value)
      rest = rest.dropFirst(2)
    }
    return String(validating: bytes, as: UTF8.self)
  }
}
