import BulkheadCore
import BulkheadSupervisor
import BulkheadSystem
import CBulkheadSys
import Foundation
import Glibc
import Testing

/// Starts `bulkhead-probe` as a worker is started: same namespaces, same descriptors, the shipped filter.
enum Probe {
  static let path = sibling("bulkhead-probe")

  /// A binary beside the test bundle's executable, in the build directory.
  static func sibling(_ name: String) -> String {
    let executable = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return URL(fileURLWithPath: executable).deletingLastPathComponent().appendingPathComponent(name).path
  }

  static let policies = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
    .appendingPathComponent("policies/seccomp")

  static func program(_ name: String) throws -> [UInt8] {
    let file = policies.appendingPathComponent(name)
    let contents = try String(contentsOf: file, encoding: .utf8)
    return try SeccompCompiler.compile(SeccompProfile.parse(contents: contents, file: name)).bytes
  }

  /// Compiled once: every act runs under the very same program.
  private static let programs = ["worker.json", "front.json"].reduce(into: [String: Result<[UInt8], any Error>]()) {
    programs, name in programs[name] = Result { try program(name) }
  }

  struct Outcome {
    var status: BulkheadSystem.ExitStatus
    var lines: [String]
    var layers: [LayerReport]

    /// The value of the line `name value`, or nil.
    subscript(name: String) -> String? {
      lines.first { $0.hasPrefix(name + " ") }.map { String($0.dropFirst(name.count + 1)) }
    }
  }

  enum Module {
    /// A file that its name leads to.
    case file
    /// Memory that no name leads to.
    case memory
  }

  /// Runs the probe to its end.
  ///
  /// - Parameter onLine: called with each line as it comes, and the process.
  static func run(
    _ arguments: [String], profile: String = "worker.json", module: Module = .file,
    content: [UInt8] = Array("the module\n".utf8), mode: mode_t = 0o444,
    namespaces: NamespaceSet = .all,
    lifelineOpen: Bool = true,
    onLine: (String, borrowing SpawnedProcess) throws -> Void = { _, _ in },
    configure: (inout SpawnRequest) -> Void = { _ in }
  ) throws -> Outcome {
    let null = try Descriptor.open("/dev/null", .readWrite)
    let report = try BulkheadSystem.Pipe()
    let seccomp = try Memfd.message(name: "program", programs[profile]?.get() ?? [])
    let channel = try Memfd.shared(name: "channel", size: 1 << 16)
    let liveness = try BulkheadSystem.Pipe()
    let lifeline = try BulkheadSystem.Pipe()
    let doorbell = try BulkheadSystem.Pipe.doorbell()
    let directory = try Descriptor.open("/etc", .read)
    let file = FileManager.default.temporaryDirectory.appendingPathComponent("bulkhead-probe-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: file) }
    let compiled: Descriptor
    switch module {
    case .memory: compiled = try Memfd.message(name: "module", content).takeDescriptor()
    case .file:
      try Data(content).write(to: file)
      // As the cache keeps it: readable for whom the worker has become.
      chmod(file.path, mode)
      compiled = try Descriptor.open(file.path, .read)
    }
    var request = SpawnRequest(
      executable: path, arguments: ["bulkhead-probe"] + arguments,
      descriptors: [
        null.raw, null.raw, null.raw, report.write.raw, seccomp.descriptor.raw, compiled.raw, channel.descriptor.raw,
        liveness.write.raw, lifeline.read.raw, doorbell.write.raw, directory.raw,
      ])
    request.namespaces = namespaces
    configure(&request)
    // The probe holds no write end of it, so closing ours hangs it up.
    let lifelineEnd: Descriptor? = lifelineOpen ? try lifeline.write.duplicate() : nil
    let lifelineRead = lifeline.takeRead()
    request.descriptors[8] = lifelineRead.raw
    // A child that another test starts at this moment holds a copy of the write end until its exec.
    if !lifelineOpen { #expect(bh_poll(lifelineRead.raw, 0, 10_000) > 0) }
    let child = try ProcessSpawner.spawn(request)
    let output = report.takeRead()

    var text = ""
    var lines: [String] = []
    var chunk = [UInt8](repeating: 0, count: 4_096)
    while true {
      let count = try chunk.withUnsafeMutableBytes { buffer in try output.read(into: buffer) ?? 0 }
      if count == 0 { break }
      text += String(decoding: chunk.prefix(count), as: UTF8.self)
      while let end = text.firstIndex(of: "\n") {
        let line = String(text[..<end])
        text = String(text[text.index(after: end)...])
        lines.append(line)
        try onLine(line, child)
      }
    }
    let status = try child.wait()
    _ = consume lifelineEnd
    return Outcome(status: status, lines: lines, layers: child.layers)
  }
}
