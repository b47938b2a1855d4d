import BulkheadControl
import BulkheadCore
import Foundation
import Testing

@testable import BulkheadCLI

/// A Unix socket that takes one connection, reads a request's head, answers with what it is given, and closes.
private final class OneAnswer {
  let path: String
  private let listener: Int32
  private let thread: Thread

  init(_ answer: String, close closes: Bool = true) throws {
    let path = FileManager.default.temporaryDirectory.appending(path: "ctl-\(UUID().uuidString).sock").path
    self.path = path
    let listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    self.listener = listener
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    try #require(bound == 0 && listen(listener, 1) == 0)
    thread = Thread {
      let connection = accept(listener, nil, nil)
      guard connection >= 0 else { return }
      var head: [UInt8] = []
      var byte: UInt8 = 0
      while !head.suffix(4).elementsEqual("\r\n\r\n".utf8), read(connection, &byte, 1) == 1 { head.append(byte) }
      _ = Array(answer.utf8).withUnsafeBytes { send(connection, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      // The client hangs up when it has waited long enough.
      if !closes { while read(connection, &byte, 1) == 1 {} }
      Glibc.close(connection)
    }
    thread.start()
  }

  deinit {
    Glibc.close(listener)
    unlink(path)
  }

  static func http(_ status: String, _ body: String) -> String {
    "HTTP/1.1 \(status)\r\ncontent-length: \(body.utf8.count)\r\n\r\n\(body)"
  }
}

@Suite struct ControlClientTests {
  static func failure(_ path: String, timeout: Duration = .seconds(30)) async -> ControlFailure? {
    do {
      _ = try await ControlClient(socketPath: path, timeout: timeout).get(PluginsResponse.self, ControlPaths.plugins)
      return nil
    } catch {
      return error
    }
  }

  @Test func anAnswerIsDecoded() async throws {
    let server = try OneAnswer(OneAnswer.http("200 OK", #"{"plugins":[],"more":1}"#))
    let response = try await ControlClient(socketPath: server.path).get(PluginsResponse.self, ControlPaths.plugins)
    #expect(response.plugins.isEmpty)
  }

  @Test func metricsArePrintedAsTheyCome() async throws {
    let server = try OneAnswer(OneAnswer.http("200 OK", "# TYPE a counter\na 1\n"))
    let command = try #require(try CommandLineTests.parse("metrics") as? MetricsCommand)
    let view = View(now: Timestamp(milliseconds: 0), coloured: false, format: .table)
    let text = try await command.answer(ControlClient(socketPath: server.path), view)
    #expect(text == "# TYPE a counter\na 1")
  }

  @Test func aRefusalOfTextGivesTheServersWords() async throws {
    let body = String(
      decoding: try ControlJSON.encode(ErrorResponse(code: .unavailable, message: "not now")), as: UTF8.self)
    let server = try OneAnswer(OneAnswer.http("503 Service Unavailable", body))
    await #expect(throws: ControlFailure(exitCode: ExitCode.unavailable, message: "not now")) {
      try await ControlClient(socketPath: server.path).text(ControlPaths.metrics)
    }
  }

  @Test func aSocketThatIsNotThereIsUnavailable() async {
    let failure = await Self.failure("/nowhere/control.sock")
    #expect(failure?.exitCode == ExitCode.unavailable)
    #expect(failure?.message.contains("is bulkheadd running?") == true)
  }

  @Test func aSocketThatNobodyListensOnIsUnavailable() async throws {
    let file = FileManager.default.temporaryDirectory.appending(path: "no-socket-\(UUID().uuidString)")
    try Data().write(to: file)
    defer { try? FileManager.default.removeItem(at: file) }
    let failure = await Self.failure(file.path)
    #expect(failure?.exitCode == ExitCode.unavailable)
    #expect(failure?.message == "nobody listens on \(file.path) (ECONNREFUSED): is bulkheadd running?")
  }

  @Test func aPathThatIsTooLongIsUsage() async {
    #expect(await Self.failure("/" + String(repeating: "x", count: 200))?.exitCode == ExitCode.usage)
  }

  static let refusals: [(ErrorResponse.Code, Int32)] = [
    (.unknownPlugin, ExitCode.dataError), (.forbidden, ExitCode.noPermission), (.conflict, ExitCode.unavailable),
    (.unavailable, ExitCode.unavailable), (.internal, ExitCode.software), (.notFound, ExitCode.software),
    (.invalidConfiguration, ExitCode.configuration),
  ]

  @Test(arguments: refusals) func aRefusalGivesTheServersWordsAndItsCode(
    _ code: ErrorResponse.Code, _ exitCode: Int32
  ) async throws {
    let body = String(
      decoding: try ControlJSON.encode(ErrorResponse(code: code, message: "no\u{1B}[2J")), as: UTF8.self)
    let server = try OneAnswer(OneAnswer.http("400 Bad Request", body))
    #expect(await Self.failure(server.path) == ControlFailure(exitCode: exitCode, message: "no [2J"))
  }

  @Test func eachDetailOfARefusalIsALine() async throws {
    let error = ErrorResponse(code: .invalidConfiguration, message: "no", details: ["a.yaml:1: x", "b.yaml:2: y"])
    let server = try OneAnswer(
      OneAnswer.http("422 Unprocessable Content", String(decoding: try ControlJSON.encode(error), as: UTF8.self)))
    #expect(await Self.failure(server.path)?.message == "no\n  a.yaml:1: x\n  b.yaml:2: y")
  }

  @Test(arguments: [
    (OneAnswer.http("200 OK", "[]"), ExitCode.software), (OneAnswer.http("200 OK", ""), ExitCode.software),
    (OneAnswer.http("500 Oops", "oops"), ExitCode.software), (OneAnswer.http("403 No", ""), ExitCode.noPermission),
    ("", ExitCode.unavailable), ("SSH-2.0-x\r\n", ExitCode.unavailable),
    ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", ExitCode.unavailable),
  ])
  func anAnswerThatIsNoneIsAFailure(_ answer: String, _ exitCode: Int32) async throws {
    let server = try OneAnswer(answer)
    #expect(await Self.failure(server.path)?.exitCode == exitCode)
  }

  @Test func aServerThatDoesNotAnswerIsNotWaitedForWithoutEnd() async throws {
    let server = try OneAnswer("HTTP/1.1 200 OK\r\n", close: false)
    let failure = await Self.failure(server.path, timeout: .milliseconds(50))
    #expect(failure?.exitCode == ExitCode.unavailable)
    #expect(failure?.message.contains("within 0.05 seconds") == true)
  }
}
