import BulkheadControl
import BulkheadCore
import BulkheadSystem
import Foundation
import Glibc
import Testing

@testable import BulkheadSupervisor

/// What plays journald: a datagram socket in a folder of its own.
private final class Journal {
  let path: String
  private let folder: URL
  private let socket: Int32

  init() throws {
    folder = FileManager.default.temporaryDirectory.appending(path: "journal-\(UUID().uuidString.prefix(8))")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    path = folder.appending(path: "socket").path
    socket = Glibc.socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(path.utf8)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    let size = socklen_t(MemoryLayout<sockaddr_un>.size)
    let outcome = withUnsafePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(socket, $0, size) }
    }
    #expect(outcome == 0)
  }

  deinit {
    close(socket)
    try? FileManager.default.removeItem(at: folder)
  }

  /// The fields of the next record: read as the protocol has it.
  func next() throws -> [String: String] {
    guard
      case .message(let message) = try MessageSocket.receive(socket, maximumBytes: 1 << 20, maximumDescriptors: 1)
    else { return [:] }
    var bytes = message.bytes
    var descriptors = message.takeDescriptors()
    if let memory = descriptors.takeFirst() {
      lseek(memory.raw, 0, SEEK_SET)
      bytes = try RawDescriptor.readFile(memory.raw, atMost: 1 << 20)
    }
    return Self.fields(bytes)
  }

  static func fields(_ bytes: [UInt8]) -> [String: String] {
    var fields: [String: String] = [:]
    var rest = bytes[...]
    while let end = rest.firstIndex(where: { $0 == 0x0A || $0 == 0x3D }) {
      let name = String(decoding: rest[..<end], as: UTF8.self)
      let isLong = rest[end] == 0x0A
      rest = rest[(end + 1)...]
      let count =
        isLong
        ? rest.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
        : rest.firstIndex(of: 0x0A).map { $0 - rest.startIndex } ?? 0
      if isLong { rest = rest.dropFirst(8) }
      fields[name] = String(decoding: rest.prefix(count), as: UTF8.self)
      rest = rest.dropFirst(count + 1)
    }
    return fields
  }
}

private func line(_ message: String, backtrace: [String] = []) -> LogLine {
  LogLine(
    at: .now, level: .error, process: "worker", plugin: "crashy", pid: 9, request: "r-1", stream: 5,
    callback: "proxy_on_request_headers", microseconds: 412, message: message, backtrace: backtrace)
}

@Test(.timeLimit(.minutes(1))) func journaldGetsARecordWithFields() throws {
  let journal = try Journal()
  let writer = LogWriter(format: .journald, minimumLevel: .info, descriptor: -1, journal: journal.path)
  writer.write(line("ended (trap): a\nPLUGIN=other", backtrace: ["0: a", "1: b\nSOURCE=bulkhead"]))
  let fields = try journal.next()
  let summary =
    "error process=worker plugin=crashy pid=9 request=r-1 stream=5 callback=proxy_on_request_headers "
    + "duration=0.412ms ended (trap): a\\nPLUGIN=other"
  #expect(
    fields == [
      "MESSAGE": "\(summary)\n  0: a\n  1: b\\nSOURCE=bulkhead", "PRIORITY": "3", "SYSLOG_IDENTIFIER": "bulkheadd",
      "PROCESS": "worker", "SOURCE": "bulkhead", "PLUGIN": "crashy", "WORKER_PID": "9", "REQUEST_ID": "r-1",
      "STREAM": "5", "CALLBACK": "proxy_on_request_headers", "DURATION_US": "412",
      "BACKTRACE": "0: a\n1: b\\nSOURCE=bulkhead",
    ])
  // One that is larger than a datagram may be goes as memory.
  let large = String(repeating: "x", count: 400_000)
  writer.write(line(large))
  #expect(try journal.next()["MESSAGE"]?.hasSuffix(large) == true)
}

@Test(.timeLimit(.minutes(1))) func withoutJournaldTheLogGoesToStandardError() throws {
  let pipe = try BulkheadSystem.Pipe()
  let writer = LogWriter(
    format: .journald, minimumLevel: .info, descriptor: pipe.write.raw, journal: "/nonexistent/journal/socket")
  writer.write(LogLine(at: .now, level: .info, process: "supervisor", message: "hello"))
  writer.flush(atMost: .seconds(10))
  var bytes = [UInt8](repeating: 0, count: 256)
  let count = try bytes.withUnsafeMutableBytes { try pipe.read.read(into: $0) } ?? 0
  #expect(String(decoding: bytes.prefix(count), as: UTF8.self) == "<6>info process=supervisor hello\n")
}

@Test(.timeLimit(.minutes(1))) func aLineThatIsHeldIsWrittenOnceWithWhatBecameKnown() throws {
  let journal = try Journal()
  let writer = LogWriter(format: .journald, minimumLevel: .info, descriptor: -1, journal: journal.path)
  let first = writer.hold(line("first"))
  let second = writer.hold(line("second"))
  writer.write(line("third"))
  #expect(try journal.next()["MESSAGE"]?.hasSuffix(" third") == true)
  writer.release(first) { $0.request = "r-2" }
  writer.release(first)
  #expect(try journal.next()["REQUEST_ID"] == "r-2")
  writer.flush(atMost: .seconds(10))
  #expect(try journal.next()["MESSAGE"]?.hasSuffix(" second") == true)
  writer.release(second)
  writer.write(line("last"))
  #expect(try journal.next()["MESSAGE"]?.hasSuffix(" last") == true)
}
