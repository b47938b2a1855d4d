import BulkheadSystem
import Foundation
import Synchronization
import Testing

@testable import BulkheadSupervisor

/// Modules are read aside, and once.
@Suite struct ModuleReadingTests {
  @Test func theLoopGoesOnWhileFilesAreWaitedFor() throws {
    let loop = try EventLoop()
    let files = try BackgroundWork(loop)
    let gate = DispatchSemaphore(value: 0)
    var order: [String] = []
    files.run {
      gate.wait()
      return "first"
    } then: {
      order.append($0)
    }
    files.run {
      "second"
    } then: {
      order.append($0)
    }
    loop.after(.zero) {
      order.append("the loop")
      gate.signal()
    }
    try loop.run(until: { files.isIdle })
    #expect(order == ["the loop", "first", "second"])
  }

  @Test func whatIsCancelledIsNotHeardOfAgain() throws {
    let loop = try EventLoop()
    let files = try BackgroundWork(loop)
    let ran = Mutex(0)
    var heard = 0
    for _ in 0..<3 {
      files.run {
        ran.withLock { $0 += 1 }
      } then: {
        heard += 1
      }
    }
    files.cancel()
    try loop.run(until: { files.isIdle })
    #expect(ran.withLock { $0 } == 1)
    #expect(heard == 0)
  }

  @Test func aModuleIsReadAgainOnlyWhereItChanged() throws {
    let path = NSTemporaryDirectory() + "bulkhead-module-\(UUID().uuidString)"
    defer { unlink(path) }
    try FileSystem.write([1, 2, 3], to: path, mode: 0o600)
    let now = time(nil)
    let fresh = try ModuleSource.look(at: path, known: nil, now: now)
    #expect(fresh.entry == nil, "it could change within the tick in which it was read")
    let settled = try ModuleSource.look(at: path, known: nil, now: now + 10)
    var entry = try #require(settled.entry)
    #expect(settled.digest == fresh.digest)

    // Another digest than the file has shows that it was not read.
    let other = try #require(Digest256(String(repeating: "5", count: 64)))
    entry.digest = other
    #expect(try ModuleSource.look(at: path, known: entry, now: now + 10).digest == other)

    try FileSystem.write([1, 2, 4], to: path, mode: 0o600)
    let changed = try ModuleSource.look(at: path, known: entry, now: now + 10)
    #expect(changed.digest != other && changed.digest != fresh.digest)
  }
}
