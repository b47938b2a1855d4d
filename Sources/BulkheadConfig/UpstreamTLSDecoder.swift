import BulkheadCore

/// Reads `tls` of an upstream, and the files that it names.
struct UpstreamTLSDecoder {
  static let keys = ["serverName", "caFile", "certFile", "keyFile"]
  let source: Source

  /// Sets the upstream's TLS, and where that was read.
  func decode(_ field: Field, into upstream: inout Configuration.Upstream) {
    guard let section = field.section(Self.keys) else { return }
    var tls = Upstream.TLS()
    if let name = section["serverName"] { tls.serverName = serverName(name) ?? "" }
    if let file = section["caFile"] { (tls.authorities, upstream.tlsFiles.authorities) = read(file, "CERTIFICATE") }
    switch (section["certFile"], section["keyFile"]) {
    case (let certificate?, let key?):
      (tls.certificate, upstream.tlsFiles.certificate) = read(certificate, "CERTIFICATE")
      (tls.privateKey, upstream.tlsFiles.privateKey) = read(key, "PRIVATE KEY")
    case (let certificate?, nil): certificate.report("'keyFile' is missing: a certificate is of no use without its key")
    case (nil, let key?): key.report("'certFile' is missing: a key is of no use without its certificate")
    case (nil, nil): break
    }
    upstream.tls = tls
  }

  private func serverName(_ field: Field) -> String? {
    guard let name = field.nonEmptyString() else { return nil }
    guard name.utf8.count <= 253, name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != 0x2F }) else {
      field.report("'\(name.prefix(300))' is no host's name")
      return nil
    }
    return name
  }

  /// The text of a PEM file and its path; empty where something is wrong with it, which is reported then.
  private func read(_ field: Field, _ what: String) -> (text: [UInt8], path: String) {
    guard let text = field.nonEmptyString() else { return ([], "") }
    guard !text.utf8.contains(0) else {
      field.report("a path cannot hold a NUL character")
      return ([], "")
    }
    let path = Path.absolute(text, from: source.directory)
    do throws(FileAccess.Failure) {
      let pem = try source.problems.files.text(path)
      // `RSA PRIVATE KEY` and `EC PRIVATE KEY` are keys too.
      let begins = pem.split(separator: "\n").contains { $0.hasPrefix("-----BEGIN ") && $0.contains("\(what)-----") }
      guard begins else {
        field.report("\(path) holds no PEM block of a \(what.lowercased())")
        return ([], "")
      }
      return (Array(pem.utf8), path)
    } catch {
      field.report(path, error)
      return ([], "")
    }
  }
}
