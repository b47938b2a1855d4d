import BulkheadConfig
import BulkheadCore
import BulkheadWire
import Glibc
import Testing

@testable import BulkheadSupervisor

/// What a supervisor and a program on trial say to each other, and what is looked at beside that.
@Suite struct TrialTests {
  static func request(_ socket: Int32) -> TrialRequest {
    TrialRequest(
      listeners: [
        .init(name: "edge", host: "127.0.0.1", port: 1, address: "127.0.0.1:1", isStorable: false, socket: socket)
      ], ready: ["a", "b"], endpoints: ["127.0.0.1:2"], controlSocket: "/run/x.sock")
  }

  static func reports() -> [TrialReport] {
    [
      .begun, .bound(name: "n", host: "h", port: 7, address: "h:7"), .proven, .refused(["one", "zwei ü"]), .refused([]),
    ]
  }

  static func decode<Value>(
    _ bytes: [UInt8], _ body: (UnsafeRawBufferPointer) throws(WireError) -> Value
  ) -> Result<Value, WireError> {
    bytes.withUnsafeBytes { bytes in
      do throws(WireError) { return .success(try body(bytes)) } catch { return .failure(error) }
    }
  }

  static func request(_ bytes: [UInt8]) -> Result<TrialRequest, WireError> {
    decode(bytes) { (bytes) throws(WireError) in try TrialRequest(bytes) }
  }

  static func report(_ bytes: [UInt8]) -> Result<TrialReport, WireError> {
    decode(bytes) { (bytes) throws(WireError) in try TrialReport(bytes) }
  }

  @Test func aRequestComesBackAsItWasWrittenAndNothingElseIsOne() throws {
    let open = HandoverTests.Open(1)
    let request = Self.request(open.numbers[0])
    let bytes = request.encoded()
    #expect(try Self.request(bytes).get() == request)
    for count in 0..<bytes.count {
      #expect(throws: WireError.self, "\(count) bytes") { try Self.request(Array(bytes.prefix(count))).get() }
    }
    #expect(throws: WireError.self) { try Self.request(bytes + [0]).get() }
    #expect(throws: WireError.self) { try Self.request(Self.request(1_000_000).encoded()).get() }
    #expect(request.renumbered.listeners.map(\.socket) == [TrialRequest.Place.firstListener])
  }

  @Test(arguments: reports())
  func aReportComesBackAsItWasWrittenAndNothingElseIsOne(_ report: TrialReport) throws {
    let bytes = report.encoded()
    #expect(try Self.report(bytes).get() == report)
    for count in 0..<bytes.count {
      #expect(throws: WireError.self, "\(count) bytes") { try Self.report(Array(bytes.prefix(count))).get() }
    }
    #expect(throws: WireError.self) { try Self.report(bytes + [0]).get() }
  }

  @Test func aReportOfManyLongLinesFitsItsBounds() throws {
    let lines = (0..<100).map { _ in String(repeating: "ü", count: 10_000) }
    guard case .refused(let read) = try Self.report(TrialReport.refused(lines).encoded()).get() else {
      Issue.record("it is another one")
      return
    }
    #expect(read.count == TrialReport.maximumLines)
  }

  @Test(arguments: [(Int32(-2), true), (-5, true), (-3, false), (-4, false), (-11, false), (77, false)])
  func aHostThatNobodyKnowsIsAFaultAndAResolverThatDoesNotAnswerIsNone(_ code: Int32, _ isUnknown: Bool) {
    if case .unknown = EndpointTrial.finding(lookup: code) { #expect(isUnknown) } else { #expect(!isUnknown) }
  }

  @Test func anEndpointIsLookedAtOnlyWhereItIsNew() throws {
    // Whoever is bound and does not listen refuses connections, and keeps others from that port.
    let raw = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(raw) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isBound = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(raw, $0, size) == 0 && getsockname(raw, $0, &size) == 0
      }
    }
    try #require(isBound)
    let endpoint = NetworkAddress(host: "127.0.0.1", port: UInt16(bigEndian: address.sin_port))
    guard case .notNow = try #require(EndpointTrial.look(at: [endpoint]).first) else {
      Issue.record("it answers")
      return
    }
    try #require(listen(raw, 1) == 0)
    #expect(EndpointTrial.look(at: [endpoint]) == [.answers])
  }

  @Test func anOriginComesBackAsItWasWritten() throws {
    let open = HandoverTests.Open(13)
    var handover = HandoverTests.handover(Array(open.numbers.prefix(9)))
    let binaries = open.numbers.suffix(4).map { Origin.Binary(path: "/b/\($0)", descriptor: $0) }
    handover.origin = Origin(
      supervisor: binaries[0], front: binaries[1], worker: binaries[2], compiler: binaries[3], shippedPolicies: "/p",
      arguments: ["bulkheadd", "--config", "x"],
      files: ConfigurationFiles(texts: ["/a": "b", "/c": ""], directories: ["/d": ["x.yaml"], "/e": []]))
    handover.isBack = true
    handover.controlSocket = "/run/x.sock"
    var history = History()
    history.plugins = [.init(name: "a", restarts: 3)]
    handover.history = history.encoded()
    let bytes = handover.encoded()
    let read = try HandoverTests.decode(bytes).get()
    #expect(read == handover && History(read.history) == history)
    #expect(Set(read.descriptors) == Set(open.numbers))
    for count in stride(from: 0, to: bytes.count, by: 3) {
      #expect(throws: WireError.self, "\(count) bytes") { try HandoverTests.decode(Array(bytes.prefix(count))).get() }
    }
    #expect(History([]) == nil && History(Array("{}".utf8)) == nil && History(Array("[".utf8)) == nil)
  }

  @Test func aConfigurationIsReadAgainAsItWas() throws {
    let tree = try ConfigurationTree()
    let first = try ConfigurationLoader.load(path: tree.path("bulkhead.yaml"))
    try tree.write("plugins.d/more.yaml", "broken: [")
    try tree.write("bulkhead.yaml", "listners: []\n")
    #expect(throws: ConfigurationErrors.self) { try ConfigurationLoader.load(path: tree.path("bulkhead.yaml")) }
    let again = try ConfigurationLoader.load(path: tree.path("bulkhead.yaml"), files: first.files)
    #expect(again == first)
  }
}

/// A small configuration in a directory of its own.
private final class ConfigurationTree {
  private let directory: String

  init() throws {
    var template = Array("/tmp/bulkhead-trial-XXXXXX".utf8CString)
    guard let made = mkdtemp(&template) else { throw WireError(.malformed, "directory") }
    directory = String(cString: made)
    mkdir(path("plugins.d"), 0o700)
    try write(
      "bulkhead.yaml",
      """
      listeners: [{name: edge, address: "127.0.0.1:0", upstream: up}]
      upstreams: [{name: up, builtin: echo}]
      plugins: plugins.d

      """)
  }

  deinit {
    for name in ["plugins.d/more.yaml", "bulkhead.yaml"] { unlink(path(name)) }
    rmdir(path("plugins.d"))
    rmdir(directory)
  }

  func path(_ name: String) -> String { "\(directory)/\(name)" }

  func write(_ name: String, _ text: String) throws {
    guard let file = fopen(path(name), "w") else { throw WireError(.malformed, "file") }
    fputs(text, file)
    fclose(file)
  }
}
