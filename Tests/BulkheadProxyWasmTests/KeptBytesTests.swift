import BulkheadCore
import BulkheadWire
import ProxyWasmABI
import Testing

@testable import BulkheadProxyWasm

/// What a worker keeps of streams against what the front counts for them.
@Suite struct KeptBytesTests {
  /// A stream as the front counts it.
  struct Counted {
    var maps: Int
    var properties = 0
    var bytes: Int { KeptBytes.context + maps + properties }
  }

  private static func block(_ pairs: [(String, String)]) -> Int {
    pairs.reduce(4) { $0 + 10 + $1.0.utf8.count + $1.1.utf8.count }
  }

  private static func request(_ sizes: [Int]) -> [(String, String)] {
    Harness.request + sizes.enumerated().map { ("x-\($0)", String(repeating: "v", count: $1)) }
  }

  /// The memory of all streams that are open; the numbers of contexts come in order.
  private static func held(_ harness: Harness, upTo last: UInt32) -> Int {
    (2...last).reduce(0) { $0 + (harness.host.context(id: $1)?.memoryBytes ?? 0) }
  }

  @Test(arguments: [[], [100], [60_000], [3_000, 3_000], Array(repeating: 20, count: 150)])
  func streamsTakeNoMoreThanTheyAreCountedFor(_ sizes: [Int]) throws {
    let harness = try Harness()
    let request = Self.request(sizes)
    let counted = Counted(
      maps: KeptBytes.map(block: Self.block(request)) + KeptBytes.map(block: Self.block(Harness.response)))
    for stream in 1...100 as ClosedRange<UInt32> {
      try harness.run(.requestHeaders, stream: stream, request: request)
      try harness.run(.responseHeaders, stream: stream, properties: [("response\0code", "200")])
    }
    let held = Self.held(harness, upTo: 101)
    #expect(held <= 100 * counted.bytes)
    // Nor is the count much more than what is there.
    #expect(2 * held >= 100 * (counted.bytes - KeptBytes.context))
  }

  @Test func aStreamDoesNotKeepWhatTheOneBeforeItBrought() throws {
    let harness = try Harness()
    let large = Self.request(Array(repeating: 400, count: 150))
    let small = Self.request([])
    for stream in 1...100 as ClosedRange<UInt32> {
      // Of each large one that ends its small follower gets the object.
      try harness.run(.requestHeaders, stream: 1_000, request: large)
      harness.services.replies.removeAll()
      try harness.run(.streamDone, stream: 1_000, first: false)
      try harness.run(.requestHeaders, stream: stream, request: small)
    }
    let counted = Counted(maps: KeptBytes.map(block: Self.block(small)) + KeptBytes.map(block: 0))
    let held = (2...201).reduce(0) { $0 + (harness.host.context(id: $1)?.memoryBytes ?? 0) }
    #expect(harness.host.streamCount == 100)
    #expect(held <= 100 * counted.bytes)
  }

  /// Edits of the request by one callback, and the bytes of names and values that the front counts of them.
  static let edits: [(name: String, make: @Sendable (Harness) -> Int)] = [
    (
      "one header more",
      { harness in
        harness.edit(.addHeaderMapValue, .requestHeaders, "x-more", "1")
        return 7
      }
    ),
    (
      "many headers more",
      { harness in
        for number in 0..<800 { harness.edit(.addHeaderMapValue, .requestHeaders, "x-\(number)", "value") }
        return 800 * 8
      }
    ),
    (
      "the same one again and again",
      { harness in
        let value = String(repeating: "v", count: 100)
        for _ in 0..<500 { harness.edit(.replaceHeaderMapValue, .requestHeaders, "x-0", value) }
        return 500 * 103
      }
    ),
    (
      "all large ones away, then small ones",
      { harness in
        harness.edit(.removeHeaderMapValue, .requestHeaders, "x-0")
        for number in 0..<20 { harness.edit(.addHeaderMapValue, .requestHeaders, "y-\(number)", "value") }
        return 3 + 20 * 8
      }
    ),
  ]

  @Test(arguments: edits.indices, [[], [50], [5_000], [50_000]])
  func editedStreamsTakeNoMoreThanTheyAreCountedForEither(_ index: Int, _ sizes: [Int]) throws {
    let harness = try Harness { $0.maximumRecord = 1 << 20 }
    let edit = Self.edits[index]
    let request = Self.request(sizes)
    var edited = 0
    let mark = harness.guest.allocate(0)
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      edited = edit.make(harness)
      harness.guest.reset(to: mark)
      return 0
    }
    try harness.run(.requestHeaders, stream: 1, request: request)
    let context = try #require(harness.host.context(id: 2))
    let now = (bytes: context.request.serializedBytes, entries: context.request.count)
    let empty = KeptBytes.map(block: 0)
    let came = KeptBytes.map(block: Self.block(request)) + empty
    let all = KeptBytes.edited(
      came: came, maps: max(KeptBytes.map(block: now.bytes) + empty, came), entries: max(now.entries, request.count),
      edits: edited)
    #expect(context.memoryBytes <= KeptBytes.context + all, "\(edit.name)")
  }

  @Test func propertiesThatPluginsSetCountThrice() throws {
    let harness = try Harness()
    let value = String(repeating: "p", count: 10_000)
    harness.guest.callbacks[.requestHeaders] = { [unowned harness] _, _, _ in
      let (path, size) = harness.guest.put("own")
      let (at, count) = harness.guest.put(value)
      #expect(harness.call(.setProperty, path, size, at, count) == .ok)
      return 0
    }
    let set = [("before", value)]
    try harness.run(.requestHeaders, stream: 1, properties: set)
    try harness.run(.responseHeaders, stream: 1, properties: set + [("own", value)])
    let counted = Counted(
      maps: KeptBytes.map(block: Self.block(Harness.request)) + KeptBytes.map(block: Self.block(Harness.response)),
      properties: KeptBytes.properties(bytes: 2 * value.utf8.count + 9, count: 2))
    #expect(try #require(harness.host.context(id: 2)).memoryBytes <= counted.bytes)
  }

  @Test func wherePluginsCanAskForNothingMoreOnlyTheContextStays() throws {
    let harness = try Harness { $0.keepsStreams = false }
    let request = Self.request([50_000])
    for stream in 1...10 as ClosedRange<UInt32> { try harness.run(.requestHeaders, stream: stream, request: request) }
    #expect(Self.held(harness, upTo: 11) <= 10 * KeptBytes.context)
    for stream in 1...10 as ClosedRange<UInt32> { try harness.run(.streamDone, stream: stream, first: false) }
    #expect(harness.host.streamCount == 0)
  }

  @Test func aStreamThatPausesKeepsItsHeadersAllTheSame() throws {
    let harness = try Harness { $0.keepsStreams = false }
    harness.guest.callbacks[.requestHeaders] = { _, _, _ in 1 }
    try harness.run(.requestHeaders, stream: 1, request: Self.request([50_000]))
    #expect(try #require(harness.host.context(id: 2)).memoryBytes > 50_000)
  }
}
