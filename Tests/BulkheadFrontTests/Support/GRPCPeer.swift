import BulkheadTestSupport
import Glibc

/// A gRPC server of the usual Python library, in a process of its own (`Tests/Peers/grpc_server.py`).
final class GRPCPeer {
  let port: UInt16
  private let process: UnsafeMutablePointer<FILE>
  private let portFile: String

  /// - Parameter arguments: certificate, key, and the authority of client certificates, as far as wanted.
  init(_ arguments: [String] = []) throws {
    let root = #filePath.split(separator: "/").dropLast(4).map { "/" + $0 }.joined()
    let packages = root + "/.build/deps/python"
    guard access(packages + "/grpc", R_OK) == 0 else {
      throw TestError(
        description: "there is no grpcio in \(packages): run '.ci/deps --test', which installs it from PyPI")
    }
    var template = Array("/tmp/bulkhead-grpc.XXXXXX".utf8CString)
    guard let made = mkdtemp(&template) else { throw TestError(description: "mkdtemp: errno \(errno)") }
    let folder = String(cString: made)
    portFile = folder + "/port"
    let command =
      "exec env PYTHONPATH='\(packages)' PYTHONDONTWRITEBYTECODE=1 python3 '\(root)/Tests/Peers/grpc_server.py' "
      + "'\(portFile)' " + arguments.map { "'\($0)'" }.joined(separator: " ") + " 2>'\(folder)/log'"
    guard let process = popen(command, "we") else { throw TestError(description: "popen: errno \(errno)") }
    self.process = process
    let path = portFile
    try waitUntil { access(path, R_OK) == 0 }
    guard let text = try? TestCertificates.read(path), let port = UInt16(String(decoding: text, as: UTF8.self)) else {
      pclose(process)
      let log = (try? TestCertificates.read(folder + "/log")) ?? []
      throw TestError(
        description: "the gRPC server did not start: \(String(decoding: log.suffix(2_000), as: UTF8.self))")
    }
    self.port = port
  }

  /// Ends the process, and waits for it.
  deinit { pclose(process) }
}
