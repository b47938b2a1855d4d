import BulkheadWire
import Glibc
import ProxyWasmABI
import Testing

@testable import BulkheadProxyWasm

@Suite struct BodyMemoryTests {
  /// Counts what is asked of the allocator, and gives nothing where there is to be nothing.
  private final class Counted {
    var requests = 0
    var isEmpty = false

    init(_ blocks: BodyBlocks) {
      blocks.reallocate = { [self] base, size in
        requests += 1
        return isEmpty ? nil : realloc(base, size)
      }
    }
  }

  @Test func aStreamThatHandedItsBytesOnKeepsNoMemoryForThem() throws {
    let harness = try Harness()
    let memory = Counted(harness.host.blocks)
    let piece = String(repeating: "b", count: 40_000)
    for stream in 1...20 as ClosedRange<UInt32> {
      try Way.both[0].begin(harness, stream: stream)
      harness.guest.callbacks[.requestBody] = { _, _, end in end == 1 ? 0 : 1 }
      try harness.run(.requestBody, text: piece, stream: stream)
      try harness.run(.requestBody, text: "", stream: stream, end: true)
    }
    #expect(memory.requests == 1, "one block goes from stream to stream")
    // The block that waits is not left to a stream that holds next to nothing.
    try Way.both[0].begin(harness, stream: 21)
    try harness.run(.requestBody, text: "x", stream: 21)
    #expect(memory.requests == 2)
  }

  @Test(arguments: Way.both) func aBodyThatThereIsNoMemoryForEndsThePluginCleanly(way: Way) throws {
    let harness = try Harness()
    let memory = Counted(harness.host.blocks)
    try way.begin(harness)
    harness.guest.callbacks[way.export] = { _, _, _ in 1 }
    memory.isEmpty = true
    #expect(throws: PluginFailure.outOfMemory) { try harness.run(way.body, text: "held back") }
  }

  @Test func anEditThatThereIsNoMemoryForChangesNothingAndCostsItsMessage() throws {
    let harness = try Harness()
    let memory = Counted(harness.host.blocks)
    try Way.both[0].begin(harness)
    memory.isEmpty = true
    harness.guest.callbacks[.requestBody] = { [unowned harness] _, _, _ in
      #expect(harness.splice(.requestBody, 1, 1, "new") == .ok)
      #expect(harness.buffer(.requestBody) == "abc")
      return 0
    }
    try harness.run(.requestBody, text: "abc")
    let reply = try harness.reply()
    #expect(reply.edits.isEmpty && reply.status == 413)
    #expect(harness.services.logs.contains { $0.message.contains("no memory left") })
  }
}
