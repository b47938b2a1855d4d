import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// Upgrades that are refused, and new versions that do not start though their trial went well.
@Suite struct UpgradeFailureTests {
  /// A socket that listens on a port which it has picked, until it goes.
  final class Occupied {
    private let descriptor: Int32
    let port: Int

    init() throws {
      descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
      var size = socklen_t(MemoryLayout<sockaddr_in>.size)
      let raw = descriptor
      let bound = withUnsafeMutablePointer(to: &address) { pointer in
        pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          bind(raw, $0, size) == 0 && listen(raw, 1) == 0 && getsockname(raw, $0, &size) == 0
        }
      }
      guard descriptor >= 0, bound else { throw ClientError("no port is to be had: \(errno)") }
      port = Int(UInt16(bigEndian: address.sin_port))
    }

    deinit { close(descriptor) }
  }

  static func change(_ bulkhead: Bulkhead, _ change: (inout String) -> Void) throws {
    let file = bulkhead.directory.appending(path: "bulkhead.yaml")
    var text = try String(contentsOf: file, encoding: .utf8)
    change(&text)
    try bulkhead.write("bulkhead.yaml", text)
  }

  static func addListener(_ bulkhead: Bulkhead, port: Int) throws {
    try change(bulkhead) {
      $0.replace(
        "errorDetails: client}]",
        with: "errorDetails: client},\n  {name: second, address: \"127.0.0.1:\(port)\", upstream: up}]")
    }
  }

  static func killed(_ answer: HTTPAnswer) -> Bool { answer.status == 503 }

  @Test func aListenerThatCannotBeBoundRefusesTheUpgradeAtOnceAndChangesNothing() throws {
    let bulkhead = try Bulkhead(plugins: UpgradeTests.stamp())
    let load = Load(port: bulkhead.port, connections: 2, judge: UpgradeTests.stamped)
    var occupied: Occupied? = try Occupied()
    let port = try #require(occupied?.port)
    try Self.addListener(bulkhead, port: port)
    let front = try #require(try bulkhead.status().front.pid)
    for number in 1...10 {
      let run = try UpgradeTests.upgrade(bulkhead)
      #expect(run.status == ExitCode.unavailable, "\(run)")
      let place = "bulkhead.yaml:2:"
      #expect(
        run.errors.contains(place) && run.errors.contains("another process listens there"), "\(number): \(run.errors)")
      #expect(try bulkhead.status().upgrade?.state == .failed)
      #expect(try bulkhead.status().front.pid == front)
    }
    // A plugin that dies is replaced as ever.
    let worker = try #require(try bulkhead.worker(of: "faulty")).pid
    kill(worker, SIGKILL)
    try bulkhead.wait("it is replaced") { try bulkhead.worker(of: "faulty").map { $0.pid != worker } ?? false }
    // Once the port is free, the socket that was tried is the one that serves.
    occupied = nil
    let run = try UpgradeTests.upgrade(bulkhead)
    #expect(run.status == 0, "\(run)\n\(bulkhead.logText.suffix(3_000))")
    #expect(UpgradeTests.stamped(try HTTPConnection(port: port).request("GET", "/")) == nil)
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
  }

  @Test func aControlSocketOrAnAccessLogThatCannotBeHadRefusesTheUpgrade() throws {
    let other = try Bulkhead(plugins: [])
    let bulkhead = try Bulkhead(plugins: UpgradeTests.stamp())
    let before = try String(contentsOf: bulkhead.directory.appending(path: "bulkhead.yaml"), encoding: .utf8)
    try Self.change(bulkhead) {
      $0.replace("control: {socket: control.sock}", with: "control: {socket: \(other.socket)}")
    }
    let taken = try UpgradeTests.upgrade(bulkhead)
    #expect(taken.status == ExitCode.unavailable && taken.errors.contains("another process answers"), "\(taken)")
    #expect(taken.errors.contains("bulkhead.yaml:6:"), "\(taken)")
    try bulkhead.write("bulkhead.yaml", before + "\naccessLog: {path: /nowhere/at/all/access.log}\n")
    let missing = try UpgradeTests.upgrade(bulkhead)
    #expect(missing.status == ExitCode.unavailable && missing.errors.contains("/nowhere/at/all"), "\(missing)")
    #expect(try other.status().state == .running)
    #expect(UpgradeTests.stamped(try bulkhead.get()) == nil)
  }

  @Test func aPluginThatWouldNotBeReadyRefusesTheUpgrade() throws {
    var plugins = UpgradeTests.stamp()
    for index in plugins.indices { plugins[index].policy = "two-tries" }
    let bulkhead = try Bulkhead(plugins: plugins)
    let workers = Set(try bulkhead.workers().map(\.pid))
    plugins[1].module = "configure-fails"
    try bulkhead.write(plugins[1])
    let run = try UpgradeTests.upgrade(bulkhead)
    #expect(run.status == ExitCode.unavailable, "\(run)")
    #expect(run.errors.contains("plugins.d/faulty.yaml:") && run.errors.contains("would not be: configure"), "\(run)")
    #expect(Set(try bulkhead.workers().map(\.pid)) == workers)
    // Nothing is under way: a reload is answered for what it is.
    let reload = try bulkhead.control("POST", ControlPaths.reload)
    #expect(reload.status == 422, "\(reload)")
  }

  /// One whose new version does not start, for a reason that its trial does not have.
  static func failing(
    after exec: String, upstream: String = "{name: up, builtin: echo}", environment: [String: String] = [:]
  ) throws -> (bulkhead: Bulkhead, installed: UpgradeTests.Installed) {
    let installed = try UpgradeTests.Installed()
    let bulkhead = try Bulkhead(
      plugins: UpgradeTests.stamp(), upstream: upstream, executable: installed.path("bulkheadd"),
      arguments: ["--libexec", Build.products.path], environment: environment)
    try installed.replace(
      "bulkheadd",
      by: """
        case " $* " in *" --check "*) ;; *) \(exec.replacing("DIRECTORY", with: bulkhead.directory.path)) ;; esac
        exec /bin/bash -c 'exec -a "$0" "\(UpgradeTests.binary("bulkheadd"))" "$@"' "$0" "$@"
        """)
    return (bulkhead, installed)
  }

  @Test(arguments: [
    // The configuration is wrong by then; its front ends; its workers end.
    "echo 'broken: true' >> DIRECTORY/bulkhead.yaml", "set -- \"$1\" \"$2\" --libexec DIRECTORY/lib",
  ])
  func whereANewVersionDoesNotStartTheOneBeforeIsBackAsItWas(_ script: String) throws {
    let (bulkhead, installed) = try Self.failing(after: script)
    let lib = bulkhead.directory.appending(path: "lib")
    try FileManager.default.createDirectory(at: lib, withIntermediateDirectories: true)
    for name in UpgradeTests.Installed.names {
      try FileManager.default.createSymbolicLink(
        atPath: lib.appending(path: name).path,
        withDestinationPath: name == "bulkhead-front" ? "/bin/false" : UpgradeTests.binary(name))
    }
    let load = Load(port: bulkhead.port, connections: 2, judge: UpgradeTests.stamped)
    let run = try UpgradeTests.upgrade(bulkhead)
    #expect(run.status == ExitCode.unavailable, "\(run)\n\(bulkhead.logText.suffix(3_000))")
    let said = script.contains("broken") ? "bulkhead.yaml:" : "does not serve"
    #expect(run.errors.contains(said) && run.errors.contains("serves on"), "\(run.errors)")
    try bulkhead.wait("the version before has the traffic") { try bulkhead.status().upgrade?.oldFronts == [] }
    let status = try bulkhead.status()
    #expect(status.upgrade?.state == .failed && status.upgrade?.detail.contains(said) == true, "\(status)")
    #expect(status.state == .running && status.front.state == .ready)
    // All is as it was: what dies is replaced.
    let worker = try #require(try bulkhead.worker(of: "faulty")).pid
    kill(worker, SIGKILL)
    try bulkhead.wait("it is replaced") { try bulkhead.worker(of: "faulty").map { $0.pid != worker } ?? false }
    let (failures, counts) = load.finish()
    #expect(failures.isEmpty, "\(failures) of \(counts)")
    try installed.mend("bulkheadd")
    try Self.change(bulkhead) { $0.replace("broken: true\n", with: "") }
    let again = try UpgradeTests.upgrade(bulkhead)
    #expect(again.status == 0, "\(again)\n\(bulkhead.logText.suffix(3_000))")
  }

  /// One on whose ground no version starts any more: others may write to the socket's directory from the moment on when the
  /// new one takes over.
  static func held(
    upstream: String = "{name: up, builtin: echo}"
  ) throws -> (bulkhead: Bulkhead, installed: UpgradeTests.Installed) {
    let made = try failing(after: "chmod 0777 'DIRECTORY'", upstream: upstream)
    #expect(try made.bulkhead.control("POST", ControlPaths.upgrade).status == 200)
    try made.bulkhead.wait("nobody starts") { made.bulkhead.logText.contains("the next attempt follows") }
    return made
  }

  private static func front(_ bulkhead: Bulkhead) throws -> Int32 {
    try #require(ProcessTests.descendants(of: bulkhead.pid).first { UpgradeTests.name($0) == "bulkhead-front" })
  }

  @Test func whereNoVersionStartsTheOldFrontServesAndItIsTriedAgain() throws {
    let (bulkhead, installed) = try Self.held()
    defer { withExtendedLifetime(installed) {} }
    let front = try Self.front(bulkhead)
    #expect(UpgradeTests.stamped(try bulkhead.get()) == nil)
    // Not before others may not put another socket in its place.
    #expect(throws: (any Error).self) { try bulkhead.status() }
    chmod(bulkhead.directory.path, 0o700)
    try bulkhead.wait("the next attempt works") {
      try bulkhead.status().upgrade?.oldFronts == [] && bulkhead.status().front.state == .ready
    }
    #expect(!ProcessTests.isAlive(front))
    #expect(UpgradeTests.stamped(try bulkhead.get()) == nil)
    #expect(try bulkhead.status().upgrade?.state == .failed)
  }

  @Test func whereNoVersionStartsTheStatusSaysWhyAndAFrontThatStandsStillIsKilled() throws {
    // The origin's configuration is what it goes back to, and the cache that it names is not to be had.
    let (bulkhead, installed) = try Self.failing(
      after: "rm -rf 'DIRECTORY/cache'; touch 'DIRECTORY/cache'", environment: ["WATCHDOG_USEC": "4000000"])
    defer { withExtendedLifetime(installed) {} }
    let front = try Self.front(bulkhead)
    let run = try UpgradeTests.upgrade(bulkhead)
    #expect(run.status == ExitCode.unavailable && run.errors.contains("cache"), "\(run)")
    let status = try bulkhead.status()
    #expect(status.upgrade?.state == .failed && status.front.pid == front && status.upgrade?.oldFronts == [front])
    let refused = try bulkhead.control("POST", ControlPaths.reload)
    #expect(refused.status == 503 && refused.text.contains("cache"), "\(refused)")
    #expect(UpgradeTests.stamped(try bulkhead.get()) == nil)
    kill(front, SIGSTOP)
    bulkhead.process.waitUntilExit()
    #expect(bulkhead.logText.contains("is killed: its event loops did not answer"))
  }

  @Test func whereNoVersionStartsItEndsWithTheLastFrontThatServes() throws {
    let (bulkhead, installed) = try Self.held()
    defer { withExtendedLifetime(installed) {} }
    kill(try Self.front(bulkhead), SIGKILL)
    bulkhead.process.waitUntilExit()
    #expect(bulkhead.process.terminationStatus != 0)
    #expect(bulkhead.logText.contains("has ended, and this version does not start"))
  }

  @Test func whereNoVersionStartsTheOldFrontDrainsWhenItIsStopped() throws {
    let slow = try ScriptedUpstream { connection in
      guard ((try? connection.readHead()) ?? nil) != nil else { return }
      try? connection.write("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nslow")
      usleep(1_500_000)
      try? connection.write("slow")
    }
    let (bulkhead, installed) = try Self.held(upstream: "{name: up, endpoints: [\"127.0.0.1:\(slow.port)\"]}")
    defer { withExtendedLifetime(installed) {} }
    let busy = try bulkhead.connection()
    try busy.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
    try slow.waitForRequest()
    bulkhead.process.terminate()
    #expect(try busy.receive().text == "slowslow")
    bulkhead.process.waitUntilExit()
    #expect(bulkhead.process.terminationStatus == 0, "\(bulkhead.logText.suffix(2_000))")
  }
}
