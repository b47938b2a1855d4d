import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Foundation
import Testing

@testable import BulkheadSupervisor

private let day = 86_400
private let digest = String(repeating: "a", count: 64)

private func entry(_ stem: String, age: Int, bytes: UInt64 = 1, isUnfinished: Bool = false) -> CachePruning.Entry {
  .init(stem: stem, files: [stem], bytes: bytes, lastUse: 1_000 * day - age, isUnfinished: isUnfinished)
}

private func gone(_ entries: [CachePruning.Entry], inUse: Set<String> = []) -> [String] {
  CachePruning.superfluous(entries, inUse: inUse, now: 1_000 * day).map(\.stem).sorted()
}

@Test func whatWasNotUsedForWeeksGoesAndWhatIsInUseStays() {
  let entries = [entry("new", age: day), entry("old", age: 29 * day), entry("kept", age: 500 * day)]
  #expect(gone(entries, inUse: ["kept"]) == ["old"])
}

@Test func ofWhatIsNotInUseTheLastUsedIsKeptAsFarAsThereIsRoom() {
  let half = CachePruning.maximumUnused / 2
  let entries = (0..<5).map { entry("e\($0)", age: $0, bytes: half) } + [entry("used", age: 9, bytes: .max)]
  #expect(gone(entries, inUse: ["used"]) == ["e2", "e3", "e4"])
  #expect(gone([entry("huge", age: 0, bytes: .max), entry("small", age: 1)]) == ["huge"])
}

@Test func whatIsBeingWrittenStaysForAnHour() {
  let entries = [entry("a", age: 100, isUnfinished: true), entry("b", age: 4_000, isUnfinished: true)]
  #expect(gone(entries, inUse: ["a", "b"]) == ["b"])
}

@Test(arguments: [
  ("\(digest)-e-1.cwasm", "\(digest)-e-1", false), ("\(digest)-e-1.json", "\(digest)-e-1", false),
  ("\(digest)-e.cwasm.123.new", "\(digest)-e", true), ("\(digest)-e.json.1.new", "\(digest)-e", true),
])
func filesOfTheCacheAreKnownByTheirNames(name: String, stem: String, isUnfinished: Bool) throws {
  let parsed = try #require(CachePruning.parse(name))
  #expect(parsed == (stem, isUnfinished))
}

@Test(arguments: [
  "", "x.cwasm", "\(digest).cwasm", "\(digest)-e.cwasm.new", "\(digest)-e.cwasm.x.new", "\(digest)-e.txt", "README",
  "\(digest.dropLast())-e.cwasm", "\(digest)-e.cwasm~",
])
func filesOfOthersAreNotOurs(name: String) { #expect(CachePruning.parse(name) == nil) }

@Test func pruningRemovesFilesAndNotesWhatIsUsed() throws {
  let directory = NSTemporaryDirectory() + "bulkhead-prune-\(UUID().uuidString)"
  try FileSystem.makeDirectories(directory, mode: 0o700)
  defer { try? FileManager.default.removeItem(atPath: directory) }
  let cache = ModuleCache(directory: directory, engine: try #require(EngineKey("e")), isWritable: true)
  let metadata = ReportFrame.CompiledModule(abi: "a", exports: [], imports: [])
  for letter in ["a", "b"] {
    let module = try #require(Digest256(String(repeating: letter, count: 64)))
    let output = SharedDescriptor(try Memfd.message(name: "output", [1, 2, 3]).takeDescriptor())
    _ = try cache.keep(output, of: module, metadata: metadata) { _ in }
  }
  try Data("ours".utf8).write(to: URL(fileURLWithPath: directory + "/notes.txt"))
  let used = "\(digest)-e"
  let later = time(nil) + 29 * day
  let pruned = CachePruning.prune(directory, inUse: [used], now: later)
  #expect(pruned.modules == 1 && pruned.bytes > 3)
  #expect(
    try FileManager.default.contentsOfDirectory(atPath: directory).sorted() == [
      "\(digest)-e.cwasm", "\(digest)-e.json", "notes.txt",
    ])
  #expect(CachePruning.prune(directory, inUse: [], now: time(nil)).modules == 0)
  #expect(CachePruning.prune(directory + "/none", inUse: []).modules == 0)
}

@Test func aCheckFillsTheCacheWhereNobodyElseCouldTamperWithIt() throws {
  let root = NSTemporaryDirectory() + "bulkhead-check-\(UUID().uuidString)"
  try FileSystem.makeDirectories(root + "/open/cache", mode: 0o700)
  defer { try? FileManager.default.removeItem(atPath: root) }
  let engine = try #require(EngineKey("e"))
  let made = ModuleCache(forCheckOf: root + "/new", engine: engine)
  #expect(made.isWritable && FileSystem.exists(root + "/new") && made.owner == nil)
  #expect(!ModuleCache(forCheckOf: root + "/none/new", engine: engine).isWritable)
  #expect(!FileSystem.exists(root + "/none"))
  chmod(root + "/open", 0o777)
  #expect(!ModuleCache(forCheckOf: root + "/open/cache", engine: engine).isWritable)
  chmod(root + "/new", 0o777)
  #expect(!ModuleCache(forCheckOf: root + "/new", engine: engine).isWritable)
}

@Test func rootFillsTheCacheOfTheUserThatRunsBulkhead() throws {
  try #require(geteuid() == 0, "only root can give files away")
  let root = NSTemporaryDirectory() + "bulkhead-check-\(UUID().uuidString)"
  try FileSystem.makeDirectories(root + "/cache", mode: 0o700)
  defer { try? FileManager.default.removeItem(atPath: root) }
  #expect(chown(root + "/cache", 65_534, 65_534) == 0)
  let cache = ModuleCache(forCheckOf: root + "/cache", engine: try #require(EngineKey("e")))
  #expect(cache.isWritable && cache.owner == FileSystem.Owner(uid: 65_534, gid: 65_534))
  let output = SharedDescriptor(try Memfd.message(name: "output", [1]).takeDescriptor())
  let module = try #require(Digest256(digest))
  _ = try cache.keep(output, of: module, metadata: .init(abi: "a", exports: [], imports: [])) { _ in }
  for suffix in ["cwasm", "json"] {
    var status = stat()
    #expect(stat("\(root)/cache/\(digest)-e.\(suffix)", &status) == 0 && status.st_uid == 65_534)
  }
}
