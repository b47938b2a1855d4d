import BulkheadCore
import BulkheadRing
import BulkheadSystem
import BulkheadTestSupport
import BulkheadWire
import Glibc
import Synchronization

@testable import BulkheadChain
@testable import BulkheadFront

/// A whole front in this process, with the supervisor's end of its control socket.
final class TestFront: @unchecked Sendable {
  // The supervisor's side is used by one test at a time; events are read under the lock of `events`.
  let front: Front
  let ports: [UInt16]
  /// The listening sockets, which the front has.
  let listeners: [Int32]
  let layout: ChannelLayout
  let bootstrap: FrontBootstrap
  private let supervisor: Descriptor
  private let control: Descriptor
  private var workers: [FakeWorker] = []
  private var nextWorker: UInt64 = 0
  private var syncs: UInt32 = 0
  private(set) var events: [FrontEvent] = []
  private let supervisorIsClosed = Atomic(false)

  /// One listener an upstream, in order.
  ///
  /// - Parameter tellsClients: unless a test is about what clients are told, they are told all.
  init(
    plugins: [FrontBootstrap.Plugin] = [], upstreams: [Upstream] = [.echo], eventLoops: UInt32 = 1,
    spin: UInt32 = 0, accessLog: Int32 = -1, tellsClients: Bool = true,
    _ adjust: (inout FrontBootstrap) -> Void = { _ in }
  ) throws {
    var bootstrap = FrontBootstrap(
      eventLoops: eventLoops, maximumSpinMicroseconds: spin, logLevel: .warn,
      listeners: upstreams.enumerated().map {
        .init(
          name: "listener\($0)", address: "127.0.0.1:0", upstream: $1.name, errorDetails: tellsClients ? .client : .log)
      }, upstreams: upstreams, plugins: plugins)
    bootstrap.ring.callbacks = 64 << 10
    bootstrap.ring.replies = 64 << 10
    bootstrap.ring.answers = 4 << 10
    adjust(&bootstrap)
    guard
      let layout = ChannelLayout(
        eventLoops: Int(bootstrap.eventLoops), callbackBytes: Int(bootstrap.ring.callbacks),
        replyBytes: Int(bootstrap.ring.replies), answerBytes: Int(bootstrap.ring.answers))
    else { throw TestError(description: "no layout") }
    self.layout = layout
    self.bootstrap = bootstrap
    var ports: [UInt16] = []
    var listeners: [Int32] = []
    for _ in upstreams {
      let socket = try ListeningSocket(NetworkAddress(host: "127.0.0.1", port: 0))
      ports.append(socket.address.port)
      listeners.append(socket.takeDescriptor().release())
    }
    self.ports = ports
    self.listeners = listeners
    let pair = try MessageSocket.Pair()
    supervisor = try pair.first.duplicate()
    control = try pair.second.duplicate()
    front = try Front.run(
      bootstrap: bootstrap, listeners: listeners, control: control.raw, report: -1, accessLog: accessLog)
    try waitForEvent { $0 == .serving }
  }

  /// Ends the front as a supervisor does that goes away.
  func stop() {
    _ = shutdown(supervisor.raw, Int32(SHUT_RDWR))
    _ = front.waitUntilFinished()
    for worker in workers { worker.stop() }
  }

  func command(_ command: FrontCommand, descriptors: [Int32] = []) throws {
    _ = try command.encoded().withUnsafeBytes {
      try MessageSocket.send(supervisor.raw, $0, descriptors: descriptors)
    }
  }

  /// Starts a worker of the plugin in a thread of this process.
  @discardableResult
  func addWorker(
    plugin: UInt32 = 0, ready: Bool = true, ofLane: Bool = false, _ behaviour: @escaping FakeWorker.Behaviour
  ) throws -> FakeWorker {
    nextWorker += 1
    let worker = try FakeWorker(number: nextWorker, layout: layout, behaviour)
    workers.append(worker)
    try command(.addWorker(worker: nextWorker, plugin: plugin, ofLane: ofLane), descriptors: worker.descriptorsForFront)
    worker.closeFrontsDescriptors()
    try waitForEvent { $0 == .workerAttached(worker: worker.number) }
    if ready { try self.ready(worker) }
    return worker
  }

  /// What comes from here on is waited for.
  func forgetEvents() { events = [] }

  /// All loops know it when this returns.
  func ready(_ worker: FakeWorker) throws {
    try command(.workerReady(worker: worker.number))
    try sync()
  }

  /// Commands are dealt with in order: what was told before is known to all loops.
  func sync() throws {
    syncs += 1
    let number = UInt32.max - syncs
    try command(.ping(number: number))
    try waitForEvent { $0 == .pong(number: number) }
  }

  /// Reads events until one fits; at most ten seconds.
  @discardableResult
  func waitForEvent(_ fits: (FrontEvent) -> Bool) throws -> FrontEvent {
    if let found = events.first(where: fits) { return found }
    while true {
      var poll = pollfd(fd: supervisor.raw, events: Int16(POLLIN), revents: 0)
      guard Glibc.poll(&poll, 1, 10_000) == 1 else { throw TestError(description: "no such event in \(events)") }
      switch try MessageSocket.receive(supervisor.raw, maximumBytes: 65_536, maximumDescriptors: 0) {
      case .end: throw TestError(description: "the front closed its control socket; events were \(events)")
      case .wouldWait: continue
      case .message(let message):
        let event = try message.bytes.withUnsafeBytes { try FrontEvent($0) }
        events.append(event)
        if fits(event) { return event }
      }
    }
  }

  /// The fault that the front reported of the worker.
  func fault(of worker: FakeWorker) throws -> (reason: ExitReason, detail: String) {
    let event = try waitForEvent {
      if case .workerFault(worker.number, _, _) = $0 { return true } else { return false }
    }
    guard case .workerFault(_, let reason, let detail) = event else { throw TestError(description: "\(event)") }
    return (reason, detail)
  }

  /// Opens a connection, sends the text and reads to the connection's end.
  func exchange(_ text: String, listener: Int = 0) throws -> TestResponse {
    let client = try TestClient(port: ports[listener])
    client.send(text)
    return TestResponse(client.readToEnd())
  }

  func get(_ path: String = "/", listener: Int = 0, headers: String = "") throws -> TestResponse {
    try exchange("GET \(path) HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\(headers)\r\n", listener: listener)
  }
}

extension Upstream {
  static let echo = Upstream(name: "echo", kind: .echo)
  static func at(_ port: UInt16, name: String = "app") -> Upstream {
    Upstream(name: name, kind: .endpoints(["127.0.0.1:\(port)"]))
  }
}

extension FrontBootstrap.Plugin {
  static func test(
    _ name: String = "plugin", _ strategy: FailStrategy = .failClose,
    _ callbacks: CallbackSet = [.requestHeaders, .responseHeaders, .log], deadline: UInt32 = 2_000,
    admission: UInt32 = 2_000
  ) -> FrontBootstrap.Plugin {
    FrontBootstrap.Plugin(
      name: name, failStrategy: strategy, callbacks: callbacks, callbackDeadline: deadline, admissionWait: admission)
  }
}

/// A response, taken apart as far as tests need.
struct TestResponse {
  var text: String
  init(_ text: String) { self.text = text }
  var status: Int { Int(text.split(separator: " ").dropFirst().first ?? "") ?? 0 }
  var head: String { text.range("\r\n\r\n").map { String(text[..<$0]) } ?? text }
  var body: String { text.range("\r\n\r\n").map { String(text[text.index($0, offsetBy: 2)...]) } ?? "" }
  func has(_ line: String) -> Bool { head.split(separator: "\r\n").contains { $0 == line } }
}

extension StringProtocol {
  /// Where `other` begins, without Foundation.
  func range(_ other: String) -> Index? {
    // "\r\n" is one character.
    var index = startIndex
    while index < endIndex {
      if self[index...].hasPrefix(other) { return index }
      index = self.index(after: index)
    }
    return nil
  }
}

/// A blocking client connection; one thread may send while another one reads.
final class TestClient: Sendable {
  private let descriptor: Int32

  /// - Parameter receiveBuffer: what the kernel keeps for it, in bytes; nil for the usual.
  init(port: UInt16, receiveBuffer: Int32? = nil) throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    if var receiveBuffer {
      setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &receiveBuffer, socklen_t(MemoryLayout<Int32>.size))
    }
    var time = timeval(tv_sec: 10, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard result == 0 else { throw TestError(description: "connect: errno \(errno)") }
  }

  deinit { close(descriptor) }

  func send(_ text: String) { send(Array(text.utf8)) }

  func send(_ bytes: [UInt8]) {
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes { buffer in
        Glibc.send(descriptor, buffer.baseAddress.map { $0 + sent }, bytes.count - sent, Int32(MSG_NOSIGNAL))
      }
      guard count > 0 else { return }
      sent += count
    }
  }

  func readSome(_ most: Int = 65_536) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: most) { buffer, count in
      count = max(recv(descriptor, buffer.baseAddress, most, 0), 0)
    }
  }

  func readToEnd() -> String { String(decoding: readBytesToEnd(), as: UTF8.self) }

  func readBytesToEnd() -> [UInt8] {
    var all: [UInt8] = []
    while true {
      let some = readSome()
      if some.isEmpty { return all }
      all.append(contentsOf: some)
    }
  }

  /// Reads until the text has come.
  func read(until end: String) -> String {
    var all = ""
    while all.range(end) == nil {
      let some = readSome()
      if some.isEmpty { return all }
      all += String(decoding: some, as: UTF8.self)
    }
    return all
  }

  /// Closes so that the peer sees a reset; the descriptor goes with the client.
  func abort() {
    var now = linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &now, socklen_t(MemoryLayout<linger>.size))
  }

  func halfClose() { shutdown(descriptor, Int32(SHUT_WR)) }
}

/// An upstream that answers each connection by a script of the test.
final class TestUpstream: Sendable {
  let port: UInt16
  private let descriptor: Int32
  private let connections = Atomic(0)

  var connectionCount: Int { connections.load(ordering: .relaxed) }

  /// - Parameter serve: called on a thread of its own for each connection, with its number from 0.
  init(_ serve: @escaping @Sendable (UpstreamPeer, Int) -> Void) throws {
    let socket = try ListeningSocket(NetworkAddress(host: "127.0.0.1", port: 0))
    port = socket.address.port
    let raw = socket.takeDescriptor().release()
    descriptor = raw
    thread { [self] in
      while true {
        var poll = pollfd(fd: raw, events: Int16(POLLIN), revents: 0)
        guard Glibc.poll(&poll, 1, 30_000) == 1 else { return }
        let peer = accept(raw, nil, nil)
        guard peer >= 0 else { continue }
        let number = connections.add(1, ordering: .relaxed).oldValue
        thread {
          serve(UpstreamPeer(descriptor: peer), number)
          close(peer)
        }
      }
    }
  }
}

struct UpstreamPeer: Sendable {
  let descriptor: Int32

  /// Reads until the text has come, or the end.
  func read(until end: String) -> String {
    var all = ""
    while all.range(end) == nil {
      var buffer = [UInt8](repeating: 0, count: 65_536)
      let count = recv(descriptor, &buffer, buffer.count, 0)
      if count <= 0 { return all }
      all += String(decoding: buffer[..<count], as: UTF8.self)
    }
    return all
  }

  func readSome() -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    let count = recv(descriptor, &buffer, buffer.count, 0)
    return Array(buffer.prefix(max(count, 0)))
  }

  func readCount() -> Int {
    var buffer = [UInt8](repeating: 0, count: 65_536)
    return recv(descriptor, &buffer, buffer.count, 0)
  }

  func send(_ text: String) { send(Array(text.utf8)) }

  func send(_ bytes: [UInt8]) {
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes { buffer in
        Glibc.send(descriptor, buffer.baseAddress.map { $0 + sent }, bytes.count - sent, Int32(MSG_NOSIGNAL))
      }
      guard count > 0 else { return }
      sent += count
    }
  }
}

/// Runs the work on a thread that nobody joins.
func thread(_ work: @escaping @Sendable () -> Void) {
  final class Box {
    let work: @Sendable () -> Void
    init(_ work: @escaping @Sendable () -> Void) { self.work = work }
  }
  var thread = pthread_t()
  pthread_create(
    &thread, nil,
    { argument in
      if let argument { Unmanaged<Box>.fromOpaque(argument).takeRetainedValue().work() }
      return nil
    }, Unmanaged.passRetained(Box(work)).toOpaque())
  pthread_detach(thread)
}

/// Descriptors as they come with a worker, but with memory that is not sealed.
final class TestDescriptors {
  private let file: UnsafeMutablePointer<FILE>?
  private let memory: Int32
  private let pipe: Pipe
  private let doorbell: Pipe

  init() throws {
    file = tmpfile()
    memory = fileno(file)
    _ = ftruncate(memory, 1 << 20)
    pipe = try Pipe()
    doorbell = try .doorbell()
  }

  deinit { if let file { fclose(file) } }

  var all: [Int32] { [memory, pipe.read.raw, doorbell.read.raw] }
}
