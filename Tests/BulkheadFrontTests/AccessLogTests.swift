import BulkheadCore
import BulkheadSystem
import BulkheadTestSupport
import BulkheadWire
import Glibc
import Testing

@testable import BulkheadChain
@testable import BulkheadFront

/// The read end of a pipe that takes the access log.
private final class LogPipe {
  private let pipe: Pipe
  private var text = ""

  init() throws { pipe = try Pipe() }

  /// For a front, which closes it.
  func descriptor() throws -> Int32 { try pipe.write.duplicate().release() }

  /// Whether something has come.
  var isReadable: Bool {
    var look = pollfd(fd: pipe.read.raw, events: Int16(POLLIN), revents: 0)
    return poll(&look, 1, 0) == 1
  }

  /// Reads until so many lines have come; at most ten seconds for each read.
  func lines(_ count: Int) throws -> [String] {
    while text.utf8.count(where: { $0 == 0x0A }) < count {
      var wait = pollfd(fd: pipe.read.raw, events: Int16(POLLIN), revents: 0)
      guard poll(&wait, 1, 10_000) == 1 else { throw TestError(description: "only these lines came: \(text)") }
      try withUnsafeTemporaryAllocation(byteCount: 65_536, alignment: 1) { buffer in
        let read = try pipe.read.read(into: buffer) ?? 0
        text += String(decoding: buffer.prefix(read), as: UTF8.self)
      }
    }
    return text.split(separator: "\n").map(String.init)
  }
}

@Suite struct AccessLogTests {
  @Test func aConnectionIsALine() throws {
    let log = try LogPipe()
    let front = try TestFront.tcp(plugins: [.network()], accessLog: log.descriptor()) {
      $0.accessLogFields = [
        .init(name: "who", property: "my.user"), .init(name: "cluster", property: "cluster_name"),
        .init(name: "nobody", property: "not.set"),
      ]
    }
    defer { front.stop() }
    try front.addWorker { callback, _ in
      callback.kind == .newConnection
        ? .reply([], [.property("my\0user", "a"), .property("my\0user", "Ann \"\u{1}")]) : .goOn()
    }
    let client = try front.connect()
    client.send("12345")
    client.halfClose()
    #expect(client.readToEnd() == "12345")
    let line = try #require(try log.lines(1).first)
    #expect(line.hasPrefix(#"{"start_time":"20"#) && line.hasSuffix("}"))
    for part in [
      #""listener":"listener0","client":"127.0.0.1:"#, #""protocol":"TCP","bytes_in":5,"bytes_out":5,"duration_us":"#,
      #""upstream":"echo","flags":0,"response_flags":"-","details":"tcp_closed","who":"Ann \"\u0001","cluster":"echo"}"#,
    ] {
      #expect(line.contains(part), "\(line)")
    }
  }

  @Test func aRequestIsALine() throws {
    let log = try LogPipe()
    let upstream = try TestUpstream { peer, _ in
      _ = peer.read(until: "\r\n\r\n")
      peer.send("HTTP/1.1 201 Created\r\ncontent-length: 4\r\nX-Kind: good\r\nconnection: close\r\n\r\nbody")
    }
    let front = try TestFront(upstreams: [.at(upstream.port)], accessLog: log.descriptor()) {
      $0.accessLogFields = [
        .init(name: "agent", property: "request.headers.User-Agent"),
        .init(name: "kind", property: "response.headers.x-kind"),
        .init(name: "host", property: "request.host"), .init(name: "none", property: "request.headers.none"),
        .init(name: "to", property: "destination.address"),
      ]
    }
    defer { front.stop() }
    #expect(try front.get("/a?b", headers: "User-Agent: me\r\nx-request-id: r-1\r\n").status == 201)
    let line = try #require(try log.lines(1).first)
    for part in [
      #""client":"127.0.0.1","protocol":"HTTP/1.1","request_id":"r-1","method":"GET","authority":"test","path":"/a?b""#,
      #""status":201,"bytes_in":0,"bytes_out":4,"duration_us":"#,
      #""upstream":"app","endpoint":"127.0.0.1:\#(upstream.port)","flags":0,"response_flags":"-","details":"via_upstream""#,
      #","agent":"me","kind":"good","host":"test","to":"127.0.0.1:\#(front.ports[0])"}"#,
    ] {
      #expect(line.contains(part), "\(line)")
    }
  }

  /// What comes to the port, and what the line has of it.
  @Test(arguments: [
    ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}", #""status":400,"#, "DPE", "request_refused"),
    ("GET / HTTP/1.1\r\nx: \(String(repeating: "a", count: 70_000))", #""status":431,"#, "DPE", "request_refused"),
    ("GET / HT", #""status":408,"#, "-", "request_header_timeout"),
  ])
  func whatIsNoRequestIsALineToo(_ bytes: String, _ status: String, _ flags: String, _ details: String) throws {
    let log = try LogPipe()
    let front = try TestFront(accessLog: log.descriptor()) {
      $0.accessLogFields = []
      $0.timeouts.headerRead = .milliseconds(150)
    }
    defer { front.stop() }
    let client = try TestClient(port: front.ports[0])
    client.send(bytes)
    let response = client.readToEnd()
    #expect(response.contains("x-request-id: "), "\(response)")
    let line = try #require(try log.lines(1).first)
    for part in [status, #""client":"127.0.0.1""#, #""response_flags":"\#(flags)","details":"\#(details)""#] {
      #expect(line.contains(part), "\(line)")
    }
  }

  @Test func aLineNamesThePluginThatFailedOrAnswered() throws {
    let log = try LogPipe()
    let front = try TestFront(
      plugins: [.test("first"), .test("guard", .failClose)], accessLog: log.descriptor()
    ) { $0.accessLogFields = [] }
    defer { front.stop() }
    try front.addWorker { _, _ in .goOn() }
    try front.addWorker(plugin: 1) { _, _ in .die }
    #expect(try front.get().status == 503)
    let line = try #require(try log.lines(1).first)
    #expect(line.contains(#""details":"plugin_unavailable","plugin":"guard","failure":"#), "\(line)")
  }

  @Test func flagsHaveTheNamesOfEnvoysLogs() {
    var all: UInt64 = 0
    for (flag, _) in ResponseFlags.names {
      #expect(all & flag == 0 && flag.nonzeroBitCount == 1)
      all |= flag
    }
    for (flags, text) in [(0, "-"), (ResponseFlags.upstreamConnect, "UF"), (all, "UT,LR,UF,UC,UO,DC,SI,DPE")] {
      var json = JSONText()
      json.flagNames(flags)
      #expect(String(decoding: json.bytes, as: UTF8.self) == "\"\(text)\"")
    }
  }

  @Test func linesOfManyRequestsAreAllThere() throws {
    let log = try LogPipe()
    let front = try TestFront(accessLog: log.descriptor()) { $0.accessLogFields = [] }
    for number in 0..<100 { #expect(try front.get("/\(number)").status == 200) }
    let lines = try log.lines(100)
    front.stop()
    #expect(lines.count == 100)
    for (number, line) in lines.enumerated() { #expect(line.contains("\"path\":\"/\(number)\"")) }
  }

  @Test func whoeverDoesNotReadTheLogHoldsNobodyUp() throws {
    let log = try LogPipe()
    let descriptor = try log.descriptor()
    _ = fcntl(descriptor, 1_031, 4_096)  // F_SETPIPE_SZ
    let writer = AccessLogWriter(descriptor: descriptor, log: FrontLog(descriptor: -1, level: .warn))
    let piece = Array((String(repeating: "x", count: 1_023) + "\n").utf8)
    // The queue takes 8 MiB; the rest is dropped, at once.
    for _ in 0..<20_000 { writer.append(piece, lines: 1) }
    #expect(try log.lines(1_000).allSatisfy { $0.utf8.count == 1_023 })
  }

  @Test func anotherFileTakesTheLinesFromNowOn() throws {
    let (before, after) = (try LogPipe(), try LogPipe())
    let front = try TestFront(accessLog: before.descriptor()) { $0.accessLogFields = [] }
    defer { front.stop() }
    #expect(try front.get("/1").status == 200)
    #expect(try before.lines(1).count == 1)
    let descriptor = try after.descriptor()
    try front.command(.reopenAccessLog, descriptors: [descriptor])
    RawDescriptor.close(descriptor)
    while !after.isReadable { #expect(try front.get("/2").status == 200) }
    #expect(try after.lines(1).first?.contains("\"path\":\"/2\"") == true)
  }

  static let times: [(UInt64, String)] = [
    (0, "1970-01-01T00:00:00.000000Z"), (951_782_400_000_001_999, "2000-02-29T00:00:00.000001Z"),
    (1_709_251_199_999_999_000, "2024-02-29T23:59:59.999999Z"),
    (1_798_761_600_000_000_000, "2027-01-01T00:00:00.000000Z"),
    (4_107_542_400_000_000_000, "2100-03-01T00:00:00.000000Z"),
  ]

  @Test(arguments: times) func timesAreRFC3339(_ nanoseconds: UInt64, _ text: String) {
    #expect(LogTime.text(nanoseconds: nanoseconds) == text)
  }

  @Test func aFieldNamesThePathWithDotsForNULs() {
    let field = LoggedProperty(AccessLogField(name: "a", property: "my.user.name"))
    #expect(field.source == .plugin)
    #expect(field.names(Array("my\0user.name".utf8)))
    #expect(!field.names(Array("my\0user".utf8)))
    #expect(
      LoggedProperty(AccessLogField(name: "a", property: "request.headers.X.Y")).source
        == .requestHeader(Array("x.y".utf8)))
  }
}
