import BulkheadCore
import BulkheadProxyWasm
import BulkheadWire
import ProxyWasmABI
import Testing

/// A guest in Swift: memory, an allocator that never frees, and callbacks as closures; one that gives nil stops it.
final class FakeGuest: Guest {
  let bytes: UnsafeMutableRawBufferPointer
  var callbacks: [GuestExport: (UInt32, UInt32, UInt32) -> UInt32?] = [:]
  /// Names of what was called, in order, with the arguments.
  var calls: [String] = []
  /// Of the last call.
  var arguments: [UInt32] = []
  private var top: UInt32 = 1_024

  init(memory: Int = 256 << 10) {
    bytes = .allocate(byteCount: memory, alignment: 16)
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
    callbacks[.malloc] = { [unowned self] size, _, _ in allocate(size) }
  }

  deinit { bytes.deallocate() }

  func allocate(_ size: UInt32) -> UInt32 {
    let at = top
    guard Int(at) + Int(size) <= bytes.count else { return 0 }
    top += (size + 7) & ~7
    return at
  }

  /// Gives back what was allocated since.
  func reset(to address: UInt32) { top = address }

  var memory: GuestMemory { GuestMemory(bytes) }
  func exports(_ export: GuestExport) -> Bool { callbacks[export] != nil }

  func call(
    _ export: GuestExport, _ a: UInt32, _ b: UInt32, _ c: UInt32, _ d: UInt32, _ e: UInt32
  ) throws(GuestStopped) -> UInt32 {
    guard let callback = callbacks[export] else { return 0 }
    if export != .malloc {
      calls.append("\(export.name)(\(a), \(b), \(c))")
      arguments = [a, b, c, d, e]
    }
    guard let result = callback(a, b, c) else { throw GuestStopped() }
    return result
  }

  /// Puts bytes into the guest's memory.
  func put(_ value: [UInt8]) -> (UInt32, UInt32) {
    let at = allocate(UInt32(value.count))
    for (index, byte) in value.enumerated() { bytes[Int(at) + index] = byte }
    return (at, UInt32(value.count))
  }
  func put(_ text: String) -> (UInt32, UInt32) { put(Array(text.utf8)) }

  func word(_ address: UInt32) -> UInt32 { bytes.loadUnaligned(fromByteOffset: Int(address), as: UInt32.self) }
}

final class FakeServices: HostServices {
  /// `stream` is the request's id, or the stream's number where it has none.
  var logs: [(level: LogLevel, stream: String, message: String)] = []
  var lines: [(isGuest: Bool, callback: CallbackKind, totalBytes: Int)] = []
  var replies: [(bytes: [UInt8], loop: Int)] = []
  var tickPeriods: [UInt32] = []

  func log(_ line: PluginLine) {
    let number = line.stream == CallbackRecord.noStream ? "" : "\(line.stream)"
    let request = String(decoding: line.request, as: UTF8.self)
    logs.append((line.level, request.isEmpty ? number : request, String(decoding: line.message, as: UTF8.self)))
    lines.append((line.isGuest, line.callback, line.totalBytes))
  }
  func reply(_ record: UnsafeRawBufferPointer, loop: Int) { replies.append(([UInt8](record), loop)) }

  /// A question to the front, and what it answers: nil is no answer at all.
  struct Question: Equatable {
    var call: HostcallRequest.Call
    var number: UInt64 = 0
    var key = ""
    var value = ""
    var extra = ""
    var loop = 0
  }
  typealias Answer = (status: Status, number: UInt64, payload: [UInt8])
  var questions: [Question] = []
  var front: (Question) -> Answer? = { _ in (.ok, 0, []) }
  private var answerBytes = WireWriter()

  func ask(
    _ call: HostcallRequest.Call, number: UInt64, key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer,
    extra: UnsafeRawBufferPointer, loop: Int
  ) -> HostcallAnswer? {
    let question = Question(
      call: call, number: number, key: String(decoding: key, as: UTF8.self),
      value: String(decoding: value, as: UTF8.self), extra: String(decoding: extra, as: UTF8.self), loop: loop)
    questions.append(question)
    guard let answer = front(question) else { return nil }
    answerBytes.reset()
    answer.payload.withUnsafeBytes {
      answerBytes.hostcallAnswer(sequence: 1, status: answer.status.rawValue, number: answer.number, payload: $0)
    }
    return try? HostcallAnswer(answerBytes.bytes)
  }

  var logLevel: LogLevel?
  var isInterrupted = false
  func tickPeriodChanged(milliseconds: UInt32) { tickPeriods.append(milliseconds) }
  func realtimeNanoseconds() -> UInt64 { 1_700_000_000_000_000_000 }
  func monotonicNanoseconds() -> UInt64 { 42 }
  func fillRandom(_ bytes: UnsafeMutableRawBufferPointer) -> Bool {
    bytes.initializeMemory(as: UInt8.self, repeating: 7)
    return true
  }
}

/// One reply, read back.
struct Reply: Equatable {
  var kind: ReplyRecord.Kind
  var flags: ReplyRecord.Flags
  var stream: UInt32
  var sequence: UInt64
  /// `operation map key=value`.
  var edits: [String] = []
  var status: UInt32?
  var grpcStatus: Int32?
  var body: String?
  var headers: [String] = []

  init(_ bytes: [UInt8]) throws {
    let copy = bytes
    let record = try copy.withUnsafeBytes { buffer -> (ReplyRecord, [String], UInt32?, Int32?, String?, [String]) in
      let record = try ReplyRecord(buffer)
      var rest = record.rest
      var edits: [String] = []
      for _ in 0..<record.operationCount {
        let edit = try ReplyOperation(&rest)
        let key =
          edit.code == .splice
          ? "\(try edit.range().start)+\(try edit.range().length)" : String(decoding: edit.key, as: UTF8.self)
        let value =
          edit.code == .set
          ? try PairsView(edit.value).strings.map { "\($0)=\($1)" }.joined(separator: "&")
          : String(decoding: edit.value, as: UTF8.self)
        let target = edit.map.map { "\($0)" } ?? edit.buffer.map { "\($0)" } ?? "\(edit.target)"
        edits.append("\(edit.code) \(target) \(key)=\(value)")
      }
      guard record.flags.contains(.localResponse) else {
        try rest.end("reply")
        return (record, edits, nil, nil, nil, [])
      }
      let local = try LocalResponse(&rest)
      try rest.end("reply")
      return (
        record, edits, local.status, local.grpcStatus, String(decoding: local.body, as: UTF8.self),
        local.headers.strings.map { "\($0)=\($1)" }
      )
    }
    kind = record.0.kind
    flags = record.0.flags
    stream = record.0.stream
    sequence = record.0.sequence
    (edits, status, grpcStatus, body, headers) = (record.1, record.2, record.3, record.4, record.5)
  }
}

/// A plugin host over a fake guest, with a stream's records made as the front makes them.
final class Harness {
  let guest = FakeGuest()
  let services = FakeServices()
  let host: PluginHost
  private var sequence: UInt64 = 0
  /// Where hostcalls write what they return.
  let out: UInt32

  static let request: [(String, String)] = [
    (":method", "GET"), (":scheme", "http"), (":authority", "example.org"), (":path", "/a/b?q=1"),
    ("user-agent", "test"), ("accept", "a"), ("accept", "b"), ("x-request-id", "id-1"), ("content-length", "12"),
  ]
  static let response: [(String, String)] = [(":status", "200"), ("server", "upstream")]

  init(_ change: (inout PluginConfiguration) -> Void = { _ in }) throws {
    var configuration = PluginConfiguration(
      name: "demo", rootID: "root", vmID: "vm", pluginConfiguration: Array("{\"a\":1}".utf8),
      vmConfiguration: Array("vm!".utf8), environment: [("A", "b"), ("HOME", "/")], logLevel: .info,
      maximumRecord: 16 << 10)
    change(&configuration)
    host = PluginHost(guest: guest, services: services, configuration: configuration)
    out = guest.allocate(64)
  }

  /// Starts the plugin with callbacks that do nothing where there are none.
  func start() throws { try host.start() }

  /// Makes a hostcall with i32 arguments.
  @discardableResult
  func call(_ function: Hostcall, _ arguments: UInt32...) -> Status {
    let (outcome, result) = raw(.hostcall(function), arguments.map(UInt64.init))
    #expect(outcome == .returned)
    return Status(rawValue: result) ?? .internalFailure
  }

  func wasi(_ function: WASICall, _ arguments: UInt32...) -> WASIError? {
    let (outcome, result) = raw(.wasi(function), arguments.map(UInt64.init))
    #expect(outcome == .returned)
    return WASIError(rawValue: result)
  }

  func raw(_ function: HostImport, _ arguments: [UInt64]) -> (HostcallOutcome, UInt32) {
    var values = [UInt64](repeating: 0, count: 2 * 16)
    for (index, argument) in arguments.prefix(16).enumerated() { values[2 * index] = argument }
    return values.withUnsafeMutableBytes { buffer in
      guard let base = buffer.baseAddress else { return (.stopped, 0) }
      let outcome = host.hostcall(function.number, base)
      return (outcome, UInt32(truncatingIfNeeded: buffer.load(as: UInt64.self)))
    }
  }

  // MARK: Hostcalls with strings

  func header(_ map: MapType, _ name: String) -> String? {
    let (key, size) = guest.put(name)
    guard call(.getHeaderMapValue, map.rawValue, key, size, out, out + 4) == .ok else { return nil }
    return text(guest.word(out), guest.word(out + 4))
  }

  func text(_ address: UInt32, _ size: UInt32) -> String {
    String(decoding: guest.bytes[Int(address)..<Int(address + size)], as: UTF8.self)
  }

  func pairs(_ map: MapType) throws -> [String] {
    #expect(call(.getHeaderMapPairs, map.rawValue, out, out + 4) == .ok)
    let (address, size) = (Int(guest.word(out)), Int(guest.word(out + 4)))
    #expect(call(.getHeaderMapSize, map.rawValue, out + 8) == .ok)
    #expect(guest.word(out + 8) == size)
    let slice = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(guest.bytes)[address..<(address + size)])
    return try PairsView(slice).strings.map { "\($0)=\($1)" }
  }

  @discardableResult
  func edit(_ function: Hostcall, _ map: MapType, _ name: String, _ value: String = "") -> Status {
    let (key, keySize) = guest.put(name)
    let (at, size) = guest.put(value)
    return function == .removeHeaderMapValue
      ? call(function, map.rawValue, key, keySize) : call(function, map.rawValue, key, keySize, at, size)
  }

  func property(_ parts: String...) -> [UInt8]? {
    let (path, size) = guest.put(parts.joined(separator: "\0"))
    guard call(.getProperty, path, size, out, out + 4) == .ok else { return nil }
    let (address, count) = (Int(guest.word(out)), Int(guest.word(out + 4)))
    return [UInt8](guest.bytes[address..<(address + count)])
  }

  // MARK: Buffers

  /// What the buffer holds; nil where the hostcall does not answer OK.
  func buffer(_ type: BufferType, start: UInt32 = 0, maximum: UInt32 = 1 << 20) -> String? {
    guard call(.getBufferBytes, type.rawValue, start, maximum, out, out + 4) == .ok else { return nil }
    return text(guest.word(out), guest.word(out + 4))
  }

  func bufferSize(_ type: BufferType) -> UInt32? {
    call(.getBufferStatus, type.rawValue, out, out + 4) == .ok ? guest.word(out) : nil
  }

  @discardableResult
  func splice(_ type: BufferType, _ start: UInt32, _ length: UInt32, _ text: String) -> Status {
    let (at, size) = guest.put(text)
    return call(.setBufferBytes, type.rawValue, start, length, at, size)
  }

  // MARK: Records

  /// Runs a record with bytes of a body or a connection.
  func run(
    _ kind: CallbackKind, text: String, stream: UInt32 = 7, first: Bool = false, loop: Int = 0, end: Bool = false
  ) throws {
    try run(kind, stream: stream, first: first, loop: loop, end: end, payload: Array(text.utf8))
  }

  /// Trailers travel as the payload.
  func run(_ kind: CallbackKind, trailers: [(String, String)], stream: UInt32 = 7) throws {
    var writer = WireWriter()
    writer.pairs(trailers)
    try run(kind, stream: stream, first: false, end: false, payload: writer.array)
  }

  /// Runs a record; the stream's request headers and properties ride on the first.
  func run(
    _ kind: CallbackKind, stream: UInt32 = 7, first: Bool? = nil, loop: Int = 0, end: Bool = true,
    request: [(String, String)]? = nil, properties: [(String, String)] = [], payload: [UInt8] = []
  ) throws {
    let isFirst = first ?? (kind == .requestHeaders)
    sequence += 1
    var writer = WireWriter()
    var flags: CallbackRecord.Flags = isFirst ? .firstOfStream : []
    if end { flags.insert(.endOfStream) }
    writer.callbackHead(kind, flags: flags, stream: stream, sequence: sequence)
    func blob(_ pairs: [(String, String)]) {
      guard !pairs.isEmpty else { return writer.emptyBlob() }
      let at = writer.beginBlob()
      writer.pairs(pairs)
      writer.endBlob(at)
    }
    blob(isFirst ? [("source\0address", "127.0.0.1:4711"), ("connection\0mtls", "\0")] : [])
    blob(properties)
    blob(isFirst && kind.subject != .connection ? request ?? Self.request : [])
    blob(kind == .responseHeaders ? Self.response : [])
    writer.blob(payload)
    let bytes = writer.array
    try bytes.withUnsafeBytes { try host.run(try CallbackRecord($0), loop: loop) }
  }

  /// The replies so far, forgotten then.
  func replies() throws -> [Reply] {
    defer { services.replies.removeAll() }
    return try services.replies.map { try Reply($0.bytes) }
  }

  func reply() throws -> Reply {
    let replies = try replies()
    #expect(replies.count == 1)
    return try #require(replies.first)
  }
}
