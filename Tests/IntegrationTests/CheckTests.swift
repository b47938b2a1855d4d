import BulkheadCore
import Foundation
import Testing

/// `bulkheadd --check` and a start: the same faults, with the same codes, one line each as compilers write them.
@Suite struct CheckTests {
  /// A configuration in a directory of its own.
  private final class Place {
    let root: URL
    var configuration: String { root.appending(path: "bulkhead.yaml").path }

    init(_ more: String = "", manifests: [String: String] = [:]) throws {
      root = FileManager.default.temporaryDirectory.resolvingSymlinksInPath()
        .appending(path: "bulkhead-check-\(UUID().uuidString.prefix(8))")
      try FileManager.default.createDirectory(at: root.appending(path: "plugins.d"), withIntermediateDirectories: true)
      chmod(root.path, 0o755)
      let text =
        "listeners:\n  - {name: edge, address: '127.0.0.1:0', upstream: echo}\nplugins: plugins.d\n" + more
        + (more.contains("cache:") ? "" : "cache: cache\n")
        + (more.contains("control:") ? "" : "control: {socket: control.sock}\n")
      try text.write(toFile: configuration, atomically: true, encoding: .utf8)
      for (name, text) in manifests {
        try text.write(to: root.appending(path: "plugins.d/\(name)"), atomically: true, encoding: .utf8)
      }
      try "precious".write(to: root.appending(path: "important.conf"), atomically: true, encoding: .utf8)
    }

    deinit { try? FileManager.default.removeItem(at: root) }

    func check() throws -> ControlTests.Run {
      try ControlTests.run("bulkheadd", ["--check", "--config", configuration])
    }

    func start() throws -> ControlTests.Run { try ControlTests.run("bulkheadd", ["-c", configuration]) }

    var files: [String] { (FileManager.default.subpaths(atPath: root.path) ?? []).sorted() }
  }

  private static func manifest(_ module: String) -> String {
    TestPlugin(name: "stamp", module: module, policy: "default").manifest
  }

  static let faults: [(String, Int32, String)] = [
    ("control: {socket: important.conf}\n", ExitCode.configuration, "4:19: error: control.socket: cannot listen on "),
    ("control: {socket: plugins.d}\n", ExitCode.configuration, "4:19: error: control.socket: cannot listen on "),
    ("cache: important.conf\n", ExitCode.configuration, "4:8: error: cache: cannot use the directory "),
    ("accessLog: {path: nowhere/access.log}\n", ExitCode.configuration, "4:12: error: accessLog: cannot open "),
    ("accessLog: {path: plugins.d}\n", ExitCode.configuration, "4:12: error: accessLog: cannot open "),
    ("events: {path: nowhere/events.log}\n", ExitCode.configuration, "4:16: error: events: cannot open "),
    ("events: {path: plugins.d}\n", ExitCode.configuration, "4:16: error: events: cannot open "),
    ("policies: nowhere\n", ExitCode.configuration, "4:11: error: policies: the directory "),
    ("runtime: {eventLoops: 0}\n", ExitCode.configuration, "4:23: error: runtime.eventLoops: must be a whole number"),
  ]

  @Test(arguments: faults) func whatAStartRefusesIsFoundByACheck(_ line: String, _ code: Int32, _ error: String) throws
  {
    let place = try Place(line)
    let before = place.files
    let check = try place.check()
    #expect(check.status == code && check.output.isEmpty, "\(check)")
    let lines = check.errors.split(separator: "\n")
    #expect(lines.count == 1 && lines[0].hasPrefix("\(place.configuration):\(error)"), "\(check)")
    let start = try place.start()
    #expect(start.status == code, "\(start)")
    let text = error.replacing("error: ", with: "")
    #expect(start.errors.contains("\(place.configuration):\(text)"), "\(start)")
    #expect(place.files.filter { $0 != "cache" } == before, "neither makes or removes anything else")
    #expect(try String(contentsOf: place.root.appending(path: "important.conf"), encoding: .utf8) == "precious")
  }

  @Test func aDirectoryThatOthersWriteToIsAMatterOfPermission() throws {
    let place = try Place("cache: open\n")
    let open = place.root.appending(path: "open")
    try FileManager.default.createDirectory(at: open, withIntermediateDirectories: false)
    chmod(open.path, 0o777)
    let check = try place.check()
    #expect(check.status == ExitCode.noPermission, "\(check)")
    #expect(check.errors.hasPrefix("\(place.configuration):4:8: error: cache: "), "\(check)")
    #expect(try place.start().status == ExitCode.noPermission)
  }

  @Test func aCheckFindsAllAtOnceAndSaysNothingElse() throws {
    let place = try Place(
      "accessLog: {path: nowhere/access.log}\ncache: important.conf\nruntime: {eventLoops: 0}\n",
      manifests: [
        "a.yaml": Self.manifest("no-abi"), "b.yaml": "kind: [", "c.json": "{}", "d.yaml": "",
        "e.yaml": Self.manifest("header").replacing("name: stamp", with: "name: other"),
      ])
    let check = try place.check()
    #expect(check.status == ExitCode.configuration)
    let lines = check.errors.split(separator: "\n").map { $0.replacing("\(place.root.path)/", with: "") }
    let pattern = #/[a-z.\/]+:\d+:\d+: (error|warning): .+/#
    #expect(lines.allSatisfy { $0.wholeMatch(of: pattern) != nil }, "\(lines)")
    for start in [
      "bulkhead.yaml:4:12: error: accessLog", "bulkhead.yaml:5:8: error: cache", "bulkhead.yaml:6:23: error: runtime",
      "plugins.d/a.yaml:5:8: error: plugin 'stamp': the module", "plugins.d/b.yaml:2:1: error: not YAML",
      "plugins.d/c.json:1:1: warning: it is not read", "plugins.d/d.yaml:1:1: warning: it is empty",
    ] { #expect(lines.count { $0.hasPrefix(start) } == 1, "\(start) in \(lines)") }
    #expect(lines.count == 7, "\(lines)")
  }

  @Test func aCheckFillsTheCacheAndAStartFindsItFilled() throws {
    let place = try Place(manifests: ["a.yaml": Self.manifest("header")])
    let check = try place.check()
    #expect(check.status == 0 && check.errors.isEmpty, "\(check)")
    #expect(check.output.hasPrefix("\(place.configuration): ok, 1 plugin\n"), "\(check)")
    let cached = place.files.filter { $0.hasPrefix("cache/") }
    #expect(cached.count == 2, "\(cached)")
    let again = try place.check()
    #expect(again.status == 0 && again.errors.isEmpty && place.files.filter { $0.hasPrefix("cache/") } == cached)
  }

  @Test func whoHasNoConfigurationIsToldWhatToDo() throws {
    let check = try ControlTests.run("bulkheadd", ["--check", "--config", "/nowhere/bulkhead.yaml"])
    #expect(check.status == ExitCode.configuration)
    #expect(
      check.errors.hasPrefix("/nowhere/bulkhead.yaml:1:1: error: cannot be opened: ")
        && check.errors.contains("name another file with --config"), "\(check)")
  }

  @Test func executablesThatAreMissingHaveACodeOfTheirOwn() throws {
    let place = try Place()
    for arguments in [["--check"], []] {
      let run = try ControlTests.run(
        "bulkheadd", arguments + ["--config", place.configuration, "--libexec", "/nowhere"])
      #expect(run.status == ExitCode.osFile && run.errors.contains("/nowhere"), "\(run)")
    }
  }

  @Test func atTheStopAFileThatTookTheSocketsPlaceStays() throws {
    let bulkhead = try Bulkhead(plugins: [])
    try FileManager.default.removeItem(atPath: bulkhead.socket)
    try "precious".write(toFile: bulkhead.socket, atomically: false, encoding: .utf8)
    kill(bulkhead.pid, SIGTERM)
    bulkhead.process.waitUntilExit()
    #expect(bulkhead.process.terminationStatus == 0)
    #expect(try String(contentsOfFile: bulkhead.socket, encoding: .utf8) == "precious")
  }

  @Test func shellsCompleteTheNamesOfPlugins() throws {
    let bulkhead = try Bulkhead(plugins: [
      TestPlugin(name: "stamp", module: "header", phase: "AUTHN"), TestPlugin(name: "other", module: "header"),
    ])
    func complete(_ command: [String], _ words: [String]) throws -> [Substring] {
      let run = try ControlTests.run(
        "bulkheadctl", ["---completion"] + command + ["--", "positional@0", "\(words.count - 1)", "0"] + words)
      #expect(run.status == 0 && run.errors.isEmpty, "\(run)")
      return run.output.split(separator: "\n")
    }
    for command in ["restart", "reset", "workers", "events", "crashes", "suspects"] {
      let words = ["bulkheadctl", command, "--socket", bulkhead.socket, ""]
      #expect(try complete([command], words) == ["stamp", "other"], "\(command)")
    }
    let policies = try complete(
      ["policy", "show"], ["bulkheadctl", "policy", "show", "--socket=\(bulkhead.socket)", ""])
    #expect(policies.starts(with: ["stamp", "other"]) && policies.contains("quick"), "\(policies)")
    #expect(try complete(["restart"], ["bulkheadctl", "restart", "--socket", "/nowhere", ""]).isEmpty)
    for shell in ["bash", "zsh", "fish"] {
      let script = try ControlTests.run("bulkheadctl", ["--generate-completion-script", shell])
      #expect(script.status == 0 && script.output.contains("---completion"), "\(shell)")
    }
  }
}
