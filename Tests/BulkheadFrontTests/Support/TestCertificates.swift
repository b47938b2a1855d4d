import BulkheadTestSupport
import Glibc

/// Certificates of an authority of the tests, made once a run with the `openssl` of this machine.
struct TestCertificates: Sendable {
  var folder: String
  var authority: String { folder + "/ca.pem" }
  /// For `localhost` and 127.0.0.1.
  var certificate: String { folder + "/server.pem" }
  var key: String { folder + "/server.key" }
  var clientCertificate: String { folder + "/client.pem" }
  var clientKey: String { folder + "/client.key" }
  /// For a name that nobody asks for.
  var otherCertificate: String { folder + "/other.pem" }
  var otherKey: String { folder + "/other.key" }

  static let shared = Result<TestCertificates, TestError> { () throws(TestError) in try TestCertificates() }

  private init() throws(TestError) {
    var template = Array("/tmp/bulkhead-certificates.XXXXXX".utf8CString)
    guard let made = mkdtemp(&template) else { throw TestError(description: "mkdtemp: errno \(errno)") }
    folder = String(cString: made)
    func run(_ command: String) throws(TestError) {
      guard system("cd '\(folder)' && \(command) >>openssl.log 2>&1") == 0 else {
        throw TestError(description: "openssl failed; its words are in \(folder)/openssl.log: \(command)")
      }
    }
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    try run("openssl req -x509 \(key) -keyout ca.key -out ca.pem -days 2 -subj '/CN=test authority'")
    for (name, subject) in [
      ("server", "DNS:localhost,IP:127.0.0.1"), ("client", "DNS:client"), ("other", "DNS:other.example"),
    ] {
      try run("openssl req \(key) -keyout \(name).key -out \(name).csr -subj '/CN=\(name)'")
      try run("printf 'subjectAltName=\(subject)' | tee \(name).ext")
      try run(
        "openssl x509 -req -in \(name).csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile \(name).ext "
          + "-out \(name).pem")
    }
  }

  static func read(_ path: String) throws(TestError) -> [UInt8] {
    guard let file = fopen(path, "r") else { throw TestError(description: "\(path) cannot be read") }
    defer { fclose(file) }
    var all: [UInt8] = []
    while true {
      let byte = getc(file)
      if byte == EOF { return all }
      all.append(UInt8(truncatingIfNeeded: byte))
    }
  }
}
