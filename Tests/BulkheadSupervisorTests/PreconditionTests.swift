import BulkheadConfig
import BulkheadCore
import BulkheadSystem
import Foundation
import Testing

@testable import BulkheadSupervisor

/// A directory of files for one test.
private final class Scene {
  let root: String
  let place = SourceLocation(file: "/c/bulkhead.yaml", line: 7, column: 3)

  init() throws {
    root = NSTemporaryDirectory() + "bh-\(UUID().uuidString.prefix(8))"
    try FileSystem.makeDirectories(root + "/dir", mode: 0o700)
    try Data("precious".utf8).write(to: URL(fileURLWithPath: root + "/file"))
    try FileManager.default.createSymbolicLink(atPath: root + "/link", withDestinationPath: "file")
    try FileSystem.makeDirectories(root + "/open", mode: 0o700)
    chmod(root + "/open", 0o777)
    try leaveSocket(at: root + "/socket")
  }

  deinit { try? FileManager.default.removeItem(atPath: root) }

  /// The faults of a configuration that names these paths below the root.
  func faults(socket: String = "run/c.sock", cache: String = "cache", log: String? = nil, group: String? = nil)
    -> [StartError.Fault]
  {
    var configuration = Configuration(
      file: "/c/bulkhead.yaml", listeners: [], upstreams: [], pluginsDirectory: "", policiesDirectory: "",
      cacheDirectory: "\(root)/\(cache)", controlSocket: "\(root)/\(socket)", eventLoops: 1)
    configuration.cacheLocation = place
    configuration.controlSocketLocation = place
    configuration.controlGroup = group
    configuration.controlGroupLocation = place
    configuration.accessLog = log.map { .init(target: .file("\(root)/\($0)"), location: place) }
    return Preconditions(configuration: configuration).faults
  }
}

/// Binds a socket there and closes it, which leaves its file.
private func leaveSocket(at path: String) throws {
  let descriptor = Descriptor(owning: socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0))
  var address = sockaddr_un()
  address.sun_family = sa_family_t(AF_UNIX)
  withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix(100)) }
  let result = withUnsafePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      bind(descriptor.raw, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
    }
  }
  try #require(result == 0)
}

/// Everything under a directory, to see that nothing was changed.
private func contents(_ path: String) -> [String] {
  (FileManager.default.subpaths(atPath: path) ?? []).sorted()
}

@Test(arguments: ["run/c.sock", "c.sock", "socket", "deep/er/c.sock"])
func aSocketsPlaceThatIsFreeIsNoFault(socket: String) throws {
  let scene = try Scene()
  let before = contents(scene.root)
  #expect(scene.faults(socket: socket).isEmpty)
  #expect(contents(scene.root) == before, "a look makes nothing")
}

@Test(arguments: [
  ("file", ExitCode.configuration, "a file is there already"),
  ("dir", ExitCode.configuration, "a directory is there already"),
  ("link", ExitCode.configuration, "a symbolic link is there already"),
  ("file/c.sock", ExitCode.configuration, "ENOTDIR"), ("open/c.sock", ExitCode.noPermission, "EPERM"),
])
func whatIsNoSocketIsNeverTakenForOne(socket: String, code: Int32, why: String) throws {
  let scene = try Scene()
  let fault = try #require(scene.faults(socket: socket).first)
  #expect(fault.code == code && fault.location == scene.place)
  #expect(fault.line.hasPrefix("/c/bulkhead.yaml:7:3: control.socket: ") && fault.text.contains(why), "\(fault)")
  // What is told beforehand is what a start says, and neither touches what is there.
  let before = contents(scene.root)
  let error = #expect(throws: StartError.self) {
    try ControlSocket(path: "\(scene.root)/\(socket)", location: scene.place).claim()
  }
  #expect(error?.code == code && error?.lines.first?.contains(why) == true, "\(String(describing: error))")
  #expect(contents(scene.root) == before)
  #expect(try String(contentsOfFile: scene.root + "/file", encoding: .utf8) == "precious")
}

@Test func whatCameToASocketsPlaceMeanwhileIsNeitherReplacedNorRemoved() throws {
  let scene = try Scene()
  let socket = ControlSocket(path: "\(scene.root)/run/c.sock")
  try socket.claim()
  try leaveSocket(at: socket.temporaryPath)
  try Data("precious".utf8).write(to: URL(fileURLWithPath: socket.path))
  #expect(throws: SystemError.self) { try socket.publish() }
  socket.remove()
  #expect(try String(contentsOfFile: socket.path, encoding: .utf8) == "precious")
  #expect(!FileSystem.exists(socket.temporaryPath))

  // Another supervisor's socket is not this one's to remove.
  unlink(socket.path)
  try leaveSocket(at: socket.temporaryPath)
  try socket.publish()
  try FileManager.default.moveItem(atPath: socket.path, toPath: socket.path + ".old")
  try leaveSocket(at: socket.path)
  socket.remove()
  #expect(FileSystem.exists(socket.path))
  unlink(socket.path)
  try FileManager.default.moveItem(atPath: socket.path + ".old", toPath: socket.path)
  socket.remove()
  #expect(!FileSystem.exists(socket.path), "its own is")
}

@Test(arguments: [
  ("cache", nil as Int32?, ""), ("dir", nil, ""), ("deep/er/cache", nil, ""),
  ("file", ExitCode.configuration, "ENOTDIR"), ("file/cache", ExitCode.configuration, "ENOTDIR"),
  ("open", ExitCode.noPermission, "others than this user may write to it"),
])
func aCacheIsADirectoryOfOnesOwn(cache: String, code: Int32?, why: String) throws {
  let scene = try Scene()
  let before = contents(scene.root)
  let faults = scene.faults(cache: cache)
  #expect(faults.map(\.code) == (code.map { [$0] } ?? []))
  #expect(
    faults.allSatisfy { $0.line.hasPrefix("/c/bulkhead.yaml:7:3: cache: ") && $0.text.contains(why) }, "\(faults)")
  #expect(contents(scene.root) == before)
}

@Test(arguments: [
  ("dir/access.log", nil as Int32?, ""), ("file", nil, ""), ("link", nil, ""),
  ("none/access.log", ExitCode.configuration, "make the directory"), ("dir", ExitCode.configuration, "EISDIR"),
  ("file/access.log", ExitCode.configuration, "ENOTDIR"),
])
func anAccessLogThatCannotBeOpenedIsKnownBeforehand(log: String, code: Int32?, why: String) throws {
  let scene = try Scene()
  let before = contents(scene.root)
  let faults = scene.faults(log: log)
  #expect(faults.map(\.code) == (code.map { [$0] } ?? []))
  #expect(
    faults.allSatisfy { $0.line.hasPrefix("/c/bulkhead.yaml:7:3: accessLog: ") && $0.text.contains(why) }, "\(faults)")
  #expect(contents(scene.root) == before)
  guard let code else { return }
  let error = #expect(throws: StartError.self) {
    _ = try AccessLogFile.open(.init(target: .file("\(scene.root)/\(log)"), location: scene.place))
  }
  #expect(error?.code == code, "a start gives the same code: \(String(describing: error))")
}

@Test func allFaultsAreFoundAtOnce() throws {
  #expect(try Scene().faults(socket: "file", cache: "file", log: "dir").count == 3)
}

@Test(arguments: [
  ([ExitCode.unavailable], ExitCode.unavailable),
  ([ExitCode.unavailable, ExitCode.noPermission], ExitCode.noPermission),
  ([ExitCode.noPermission, ExitCode.configuration], ExitCode.configuration),
  ([ExitCode.unavailable, ExitCode.osFile], ExitCode.osFile),
  ([ExitCode.software, ExitCode.unavailable], ExitCode.software),
])
func ofSeveralFaultsTheOneThatTryingAgainDoesNotMendGivesTheCode(codes: [Int32], code: Int32) {
  #expect(StartError(codes.map { .init($0, nil, "x") }).code == code)
}

@Test(arguments: [
  (EACCES, ExitCode.noPermission), (EROFS, ExitCode.noPermission), (ENOENT, ExitCode.configuration),
  (EISDIR, ExitCode.configuration), (EADDRINUSE, ExitCode.unavailable), (ENOSPC, ExitCode.unavailable),
  (EADDRNOTAVAIL, ExitCode.unavailable),
])
func oneKindOfFaultHasOneCode(errno: Int32, code: Int32) {
  #expect(ExitCode.file(SystemError(operation: "open", subject: "x", code: errno)) == code)
}

@Test func aLineOfACheckIsReadAsThatOfACompiler() {
  let place = SourceLocation(file: "/a/b.yaml", line: 3, column: 4)
  #expect(CheckLine.text(.error, place, "x: y") == "/a/b.yaml:3:4: error: x: y")
  #expect(CheckLine.text(.warning, SourceLocation(file: "/a"), "x\ny\u{1B}") == "/a:1:1: warning: x\\ny\\u{1b}")
  #expect(CheckLine.text(.error, nil, "x") == "bulkheadd: error: x")
  let line = LogLine(at: .now, level: .warn, process: "compiler", plugin: "geo", message: "m")
  #expect(line.formatted(.plain) == "bulkheadd: warning: plugin 'geo': m")
}

@Test func aGroupThatIsNotThereIsAFaultOfItsPlace() throws {
  let scene = try Scene()
  let faults = scene.faults(group: "no-such-group-here")
  #expect(faults.map(\.location) == [scene.place] && faults.map(\.code) == [ExitCode.configuration])
  #expect(faults.first?.text.hasPrefix("control.group: there is no group 'no-such-group-here' here: ") == true)
  let own = try #require(getgrgid(getegid()))
  #expect(scene.faults(group: String(cString: own.pointee.gr_name)) == [])
}
