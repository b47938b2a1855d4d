import BulkheadCore
import Foundation
import Glibc
import Testing

/// Whom `control.group` lets look: real users of a real group, whom the tests play as root.
@Suite struct ControlGroupTests {
  private static let nobody = "65534"

  private static func group() throws -> (name: String, id: gid_t) {
    try #require(getuid() == 0, "CI runs as root, so that it can play another user")
    let names = ["users", "games", "daemon"]
    let found = names.compactMap { name in getgrnam(name).map { (name, $0.pointee.gr_gid) } }.first
    return try #require(found, "there is none of the groups \(names)")
  }

  /// Runs a program as a user who is nobody, but for that group.
  private static func run(_ binary: String, _ arguments: [String], in group: gid_t? = nil) throws -> ControlTests.Run {
    let groups = group.map { ["--groups", "\($0)"] } ?? ["--clear-groups"]
    return try ControlTests.run(
      path: "/usr/bin/setpriv",
      ["--reuid", nobody, "--regid", nobody] + groups + [Build.binary(binary)] + arguments)
  }

  private static func modeAndGroup(_ path: String) -> (mode: mode_t, group: gid_t) {
    var status = stat()
    lstat(path, &status)
    return (status.st_mode & 0o7777, status.st_gid)
  }

  @Test func aMemberMayLookAndChangesNothing() throws {
    let group = try Self.group()
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "stamp", module: "header")],
      control: "{socket: control.sock, group: \(group.name)}")
    #expect(Self.modeAndGroup(bulkhead.socket) == (0o660, group.id))
    chmod(bulkhead.directory.path, 0o755)
    func asMember(_ line: String) throws -> ControlTests.Run {
      try Self.run(
        "bulkheadctl", ["--socket", bulkhead.socket] + line.split(separator: " ").map(String.init), in: group.id)
    }
    for line in [
      "status", "plugins", "workers stamp", "events", "crashes", "metrics", "config", "policy list", "log-level",
    ] {
      let run = try asMember(line)
      #expect(run.status == 0, "\(line): \(run)")
    }
    let worker = try #require(try bulkhead.worker(of: "stamp")?.pid)
    for line in [
      "restart stamp", "reset stamp", "suspects --clear stamp", "reload", "reload --check", "upgrade", "stop",
      "log-level debug",
    ] {
      let run = try asMember(line)
      #expect(run.status == ExitCode.noPermission, "\(line): \(run)")
      #expect(run.errors.contains("members of group '\(group.name)' may look, and only uid 0 and root"), "\(run)")
    }
    #expect(try bulkhead.worker(of: "stamp")?.pid == worker)
    let stranger = try Self.run("bulkheadctl", ["--socket", bulkhead.socket, "status"])
    #expect(stranger.status == ExitCode.noPermission && stranger.errors.contains("control.group"), "\(stranger)")
    #expect(try CommandTests.run(bulkhead, "restart stamp").status == 0, "root may, as ever")

    let file = bulkhead.directory.appending(path: "bulkhead.yaml")
    let text = try String(contentsOf: file, encoding: .utf8)
    try bulkhead.write("bulkhead.yaml", text.replacing(", group: \(group.name)", with: ""))
    let reload = try CommandTests.run(bulkhead, "reload")
    #expect(reload.status == ExitCode.configuration && reload.errors.contains("control.group changed"), "\(reload)")
  }

  @Test func membersWhoHoldAllConnectionsKeepNobodyOut() throws {
    let group = try Self.group()
    let bulkhead = try Bulkhead(plugins: [], control: "{socket: control.sock, group: \(group.name)}")
    chmod(bulkhead.directory.path, 0o755)
    // As many as there are for all; those that are closed at once read as ended.
    let script = """
      import os, select, socket, sys, time
      os.setgroups([int(sys.argv[2])])
      os.setgid(65534)
      os.setuid(65534)
      held = {}
      for _ in range(80):
          one = socket.socket(socket.AF_UNIX)
          one.connect(sys.argv[1])
          held[one.fileno()] = one
      poll = select.poll()
      for number in held:
          poll.register(number, select.POLLIN)
      left, end = 80, time.monotonic() + 15
      while time.monotonic() < end:
          closed = poll.poll(300)
          for number, _ in closed:
              poll.unregister(number)
          left -= len(closed)
          if left <= 24 and not closed:
              break
      print(left, flush=True)
      sys.stdin.read()
      """
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = ["python3", "-c", script, bulkhead.socket, "\(group.id)"]
    let (output, input) = (Pipe(), Pipe())
    process.standardOutput = output
    process.standardInput = input
    try process.run()
    defer {
      input.fileHandleForWriting.closeFile()
      process.waitUntilExit()
    }
    let left = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
    #expect(left.hasPrefix("24"))
    for _ in 0..<5 { #expect(try CommandTests.run(bulkhead, "status").status == 0) }
  }

  @Test func aCheckSaysWhereTheGroupIsWrongOrCannotBeGiven() throws {
    let group = try Self.group()
    let directory = FileManager.default.temporaryDirectory.appending(path: "bulkhead-\(UUID().uuidString.prefix(8))")
    try FileManager.default.createDirectory(
      at: directory.appending(path: "plugins.d"), withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: directory) }
    chmod(directory.path, 0o777)
    let file = directory.appending(path: "bulkhead.yaml").path
    func check(_ name: String, in group: gid_t?) throws -> ControlTests.Run {
      try """
      listeners: [{name: edge, address: '127.0.0.1:0', upstream: echo}]
      cache: cache
      control:
        socket: run/control.sock
        group: \(name)
      """.write(toFile: file, atomically: true, encoding: .utf8)
      return try Self.run("bulkheadd", ["--check", "--config", file], in: group)
    }
    chmod(directory.path, 0o755)
    chown(directory.path, 65_534, 65_534)
    let unknown = try check("no-such-group-here", in: nil)
    #expect(unknown.status == ExitCode.configuration, "\(unknown)")
    #expect((unknown.output + unknown.errors).contains("bulkhead.yaml:5:"), "\(unknown)")
    let stranger = try check(group.name, in: nil)
    #expect(stranger.status == ExitCode.noPermission, "\(stranger)")
    #expect((stranger.output + stranger.errors).contains("Group=\(group.name)"), "\(stranger)")
    let member = try check(group.name, in: group.id)
    #expect(member.status == 0, "\(member)")
  }

  /// As a user whose own group it is, as under systemd, and as one who is in it beside another one.
  @Test(arguments: [true, false]) func aDaemonWithoutRightsGivesTheSocketToAGroupThatItIsIn(_ isOwn: Bool) throws {
    let group = try Self.group()
    let script = FileManager.default.temporaryDirectory.appending(path: "bulkhead-start-\(UUID().uuidString.prefix(8))")
    defer { try? FileManager.default.removeItem(at: script) }
    let become = isOwn ? "--regid \(group.id) --clear-groups" : "--regid \(Self.nobody) --groups \(group.id)"
    try """
    #!/bin/sh
    chown -R \(Self.nobody):\(Self.nobody) "$(dirname "$2")"
    exec setpriv --reuid \(Self.nobody) \(become) '\(Build.binary("bulkheadd"))' "$@"
    """.write(to: script, atomically: true, encoding: .utf8)
    chmod(script.path, 0o755)
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "stamp", module: "header")],
      control: "{socket: control.sock, group: \(group.name)}", executable: script.path)
    #expect(Self.modeAndGroup(bulkhead.socket) == (0o660, group.id))
  }
}
