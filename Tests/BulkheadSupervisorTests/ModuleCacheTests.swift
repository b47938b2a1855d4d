import BulkheadSystem
import BulkheadWire
import Foundation
import Testing

@testable import BulkheadSupervisor

@Test(arguments: ["wasmtime-50.0.1-x86_64-epoch-v1", "a", "A_1.b", String(repeating: "k", count: 100)])
func anEngineKeyIsAPlainName(name: String) { #expect(EngineKey(name)?.name == name) }

@Test(arguments: ["", ".", ".hidden", "../up", "a/b", "a b", "a\0", "ü", String(repeating: "k", count: 101)])
func whatIsNoPlainNameIsNoEngineKey(name: String) { #expect(EngineKey(name) == nil) }

@Test func aDigestIsReadInEitherCaseAndNothingElse() {
  let hexadecimal = String(repeating: "aB", count: 32)
  #expect(Digest256(hexadecimal)?.hexadecimal == hexadecimal.lowercased())
  #expect(Digest256(String(repeating: "g", count: 64)) == nil)
  #expect(Digest256(String(repeating: "a", count: 63)) == nil)
}

@Test func theNamesInTheCacheAreDigestAndEngine() throws {
  let names = CacheNames(
    module: try #require(Digest256(String(repeating: "0", count: 64))), engine: try #require(EngineKey("engine-1")))
  #expect(names.compiled == String(repeating: "0", count: 64) + "-engine-1.cwasm")
  #expect(names.sidecar == String(repeating: "0", count: 64) + "-engine-1.json")
}

private let metadata = ReportFrame.CompiledModule(
  abi: "proxy_abi_version_0_2_1", exports: ["proxy_on_request_headers", "memory"], imports: ["env.proxy_log"])

private final class Directory {
  let path: String
  init() throws {
    path = NSTemporaryDirectory() + "bulkhead-cache-\(UUID().uuidString)"
    try FileSystem.makeDirectories(path, mode: 0o700)
  }
  deinit { try? FileManager.default.removeItem(atPath: path) }

  func cache(_ engine: String = "engine-1", isWritable: Bool = true) throws -> ModuleCache {
    ModuleCache(directory: path, engine: try #require(EngineKey(engine)), isWritable: isWritable)
  }
  var files: [String] { (try? FileManager.default.contentsOfDirectory(atPath: path).sorted()) ?? [] }
}

private func output(_ bytes: [UInt8]) throws -> SharedDescriptor {
  SharedDescriptor(try Memfd.message(name: "output", bytes).takeDescriptor())
}

private func contents(_ artifact: CompiledArtifact?) throws -> [UInt8]? {
  try artifact.map { try RawDescriptor.readFile($0.descriptor.raw, atMost: 1 << 20) }
}

private let module = Digest256(String(repeating: "5", count: 64))

@Test func whatIsKeptIsFoundAgainWithItsMetadata() throws {
  let directory = try Directory()
  let cache = try directory.cache()
  let digest = try #require(module)
  var problems: [String] = []
  #expect(cache.find(digest) { problems.append($0) } == nil)
  _ = try cache.keep(try output([1, 2, 3]), of: digest, metadata: metadata) { problems.append($0) }
  let found = cache.find(digest) { problems.append($0) }
  #expect(try contents(found) == [1, 2, 3])
  #expect(found?.metadata == metadata)
  #expect(problems.isEmpty)
  #expect(directory.files.count == 2)
  #expect(try directory.cache("engine-2").find(digest) { problems.append($0) } == nil)
}

@Test(arguments: [
  "compiled changed", "compiled cut", "sidecar cut", "sidecar of another module", "sidecar is a directory",
])
func aDamagedEntryIsAsGoodAsNone(damage: String) throws {
  let directory = try Directory()
  let cache = try directory.cache()
  let digest = try #require(module)
  _ = try cache.keep(try output([1, 2, 3]), of: digest, metadata: metadata) { _ in }
  let names = CacheNames(module: digest, engine: cache.engine)
  let compiled = URL(fileURLWithPath: "\(directory.path)/\(names.compiled)")
  let sidecar = URL(fileURLWithPath: "\(directory.path)/\(names.sidecar)")
  switch damage {
  case "compiled changed": try Data([1, 2, 4]).write(to: compiled)
  case "compiled cut": try Data([1, 2]).write(to: compiled)
  case "sidecar cut": try Data(contentsOf: sidecar).dropLast(10).write(to: sidecar)
  case "sidecar is a directory":
    try FileManager.default.removeItem(at: sidecar)
    try FileManager.default.createDirectory(at: sidecar, withIntermediateDirectories: false)
  default:
    let text = try String(contentsOf: sidecar, encoding: .utf8)
    try Data(text.replacing(digest.hexadecimal, with: String(repeating: "6", count: 64)).utf8).write(to: sidecar)
  }
  var problems: [String] = []
  #expect(cache.find(digest) { problems.append($0) } == nil)
  #expect(problems.count == 1)
}

@Test func aCacheThatCannotBeWrittenKeepsNoPluginFromStarting() throws {
  let directory = try Directory()
  let digest = try #require(module)
  let kept = try directory.cache(isWritable: false).keep(try output([7]), of: digest, metadata: metadata) { _ in }
  #expect(try contents(kept) == [7])
  #expect(directory.files.isEmpty)

  var problems: [String] = []
  let cache = ModuleCache(
    directory: directory.path + "/missing", engine: try #require(EngineKey("engine-1")), isWritable: true)
  let other = try cache.keep(try output([8]), of: digest, metadata: metadata) { problems.append($0) }
  #expect(try contents(other) == [8])
  #expect(problems.count == 1)
}

@Test func randomBytesAreNoSidecar() throws {
  let digest = try #require(module)
  let engine = try #require(EngineKey("engine-1"))
  for count in 0..<500 {
    let bytes = (0..<count).map { _ in UInt8.random(in: 0...255) }
    #expect(CacheSidecar(bytes, module: digest, engine: engine) == nil)
  }
}

@Test func memoryWithAWriterCannotBeSealed() throws {
  let output = try OutputMemory(name: "test")
  try [UInt8(1)].withUnsafeBytes { try RawDescriptor.writeAll(output.descriptor.raw, $0) }
  let writer = try Mapping(output.descriptor.raw, size: 1, writable: true)
  var code: Int32 = 0
  do throws(SystemError) { _ = try output.sealed() } catch { code = error.code }
  #expect(code == Errno.busy)
  #expect(writer.size == 1)
}

@Test func sealedOutputCannotBeWritten() throws {
  let output = try OutputMemory(name: "test")
  let sealed = SharedDescriptor(try output.sealed())
  #expect(throws: SystemError.self) {
    try [UInt8(1)].withUnsafeBytes { try RawDescriptor.writeAll(sealed.raw, $0) }
  }
}
