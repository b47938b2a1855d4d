import BulkheadConfig
import BulkheadCore
import BulkheadSystem
import Glibc
import Testing

@testable import BulkheadSupervisor

// MARK: the environment

private func environment(_ variables: [String: String]) -> ServiceEnvironment {
  ServiceEnvironment(pid: 42) { variables[$0] }
}

@Test func withoutAServiceManagerThereIsNobodyToTell() { #expect(environment([:]) == ServiceEnvironment()) }

@Test(
  arguments: [
    (["NOTIFY_SOCKET": "/run/systemd/notify"], ServiceEnvironment(notifySocket: "/run/systemd/notify")),
    (["NOTIFY_SOCKET": "@abstract"], ServiceEnvironment(notifySocket: "@abstract")),
    (["NOTIFY_SOCKET": "vsock:2:1"], ServiceEnvironment()),
    (["NOTIFY_SOCKET": "/"], ServiceEnvironment()),
    (["WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "42"], ServiceEnvironment(watchdog: .seconds(2))),
    (["WATCHDOG_USEC": "2000000"], ServiceEnvironment(watchdog: .seconds(2))),
    (["WATCHDOG_USEC": "2000000", "WATCHDOG_PID": "41"], ServiceEnvironment()),
    (["WATCHDOG_USEC": "0"], ServiceEnvironment()), (["WATCHDOG_USEC": "-5"], ServiceEnvironment()),
    (["WATCHDOG_USEC": "soon"], ServiceEnvironment()),
    (
      ["LISTEN_PID": "42", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "edge::other"],
      ServiceEnvironment(descriptorNames: ["edge", "", "other"])
    ),
    (["LISTEN_PID": "42", "LISTEN_FDS": "2"], ServiceEnvironment(descriptorNames: ["", ""])),
    (
      ["LISTEN_PID": "42", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a:b:c"], ServiceEnvironment(descriptorNames: ["a"])
    ),
    (["LISTEN_PID": "7", "LISTEN_FDS": "1"], ServiceEnvironment()), (["LISTEN_FDS": "1"], ServiceEnvironment()),
    (["LISTEN_PID": "42", "LISTEN_FDS": "-1"], ServiceEnvironment()),
    (["LISTEN_PID": "42", "LISTEN_FDS": "99999999999999999999"], ServiceEnvironment()),
    (
      ["LISTEN_PID": "42", "LISTEN_FDS": "100000"],
      ServiceEnvironment(descriptorNames: [String](repeating: "", count: ServiceEnvironment.maximumDescriptors))
    ),
  ] as [([String: String], ServiceEnvironment)])
func whatIsNotForThisProcessOrMakesNoSenseIsNotThere(variables: [String: String], means: ServiceEnvironment) {
  #expect(environment(variables) == means)
}

// MARK: messages

@Test(
  arguments: [
    (.ready(pid: 7, status: "Serving"), "READY=1\nMAINPID=7\nSTATUS=Serving"),
    (
      .reloading(now: .milliseconds(1_500)),
      "RELOADING=1\nMONOTONIC_USEC=1500000\nSTATUS=Reading the configuration"
    ),
    (.stopping(status: "Draining"), "STOPPING=1\nSTATUS=Draining"), (.watchdog, "WATCHDOG=1"),
    (.extendStart(by: .seconds(60), status: "Starting"), "EXTEND_TIMEOUT_USEC=60000000\nSTATUS=Starting"),
    (.store(name: "listener-edge"), "FDSTORE=1\nFDNAME=listener-edge\nFDPOLL=0"),
    (.forget(name: "listener-edge"), "FDSTOREREMOVE=1\nFDNAME=listener-edge"),
    (.status("one\nREADY=1"), "STATUS=one\\nREADY=1"),
  ] as [(ServiceMessage, String)])
func messagesAreLinesThatNoTextCanAddTo(message: ServiceMessage, text: String) {
  #expect(String(decoding: message.bytes, as: UTF8.self) == text)
}

@Test func aStatusIsCut() {
  #expect(ServiceMessage.status(String(repeating: "ü", count: 10_000)).bytes.count <= 7 + ServiceMessage.maximumStatus)
}

@Test(arguments: [
  ("listener-edge", true), ("", false), ("a:b", false), ("a\nb", false), ("ü", false),
  (String(repeating: "x", count: 256), false),
])
func aNameThatTheServiceManagerWouldRefuseIsNotStored(name: String, isStorable: Bool) {
  #expect(ServiceMessage.isStorable(name: name) == isStorable)
}

// MARK: sockets that were there before

private func listener(_ name: String, _ host: String = "127.0.0.1", port: UInt16) -> Configuration.Listener {
  Configuration.Listener(
    Listener(name: name, address: NetworkAddress(host: host, port: port), upstream: "echo"),
    location: SourceLocation(file: "bulkhead.yaml"))
}

private func inherited(_ name: String, _ host: String = "127.0.0.1") throws -> InheritedSockets.Socket {
  let socket = try ListeningSocket(NetworkAddress(host: host, port: 0))
  let address = socket.address
  return .init(name: name, descriptor: SharedDescriptor(socket.takeDescriptor()), address: address)
}

@Test func aSocketWithAListenersNameIsItsWhereverItListens() throws {
  let sockets = [try inherited("other"), try inherited("edge", "127.0.0.2")]
  var pool = InheritedSockets(sockets)
  #expect(pool.take(for: listener("edge", port: 80))?.address == sockets[1].address)
  #expect(pool.take(for: listener("edge", port: 80)) == nil)
  #expect(pool.sockets.map(\.name) == ["other"])
}

@Test func aSocketWithoutAListenersNameIsFoundByItsAddress() throws {
  let sockets = [try inherited("bulkhead.socket"), try inherited("bulkhead.socket")]
  var pool = InheritedSockets(sockets)
  let second = listener("edge", port: sockets[1].address.port)
  #expect(pool.take(for: second)?.address == sockets[1].address)
  #expect(pool.take(for: second) == nil)
}

@Test func aStoredSocketIsTakenAtItsOldAddressAlone() throws {
  let stored = try inherited(InheritedSockets.storedName(of: "edge"))
  var pool = InheritedSockets([stored])
  #expect(pool.take(for: listener("edge", "127.0.0.2", port: stored.address.port)) == nil, "it listens elsewhere now")
  #expect(pool.take(for: listener("other", port: 0)) == nil, "port 0 is not whatever there is")
  #expect(pool.take(for: listener("edge", port: 0))?.isStored == true)
  #expect(InheritedSockets([stored]).sockets.count == 1)
}

@Test func aListenerThatWasRenamedKeepsItsSocket() throws {
  let stored = try inherited(InheritedSockets.storedName(of: "edge"))
  var pool = InheritedSockets([stored])
  #expect(pool.take(for: listener("front", port: stored.address.port)) != nil)
}

@Test func aSocketUnitGoesBeforeWhatWasStored() throws {
  let stored = try inherited(InheritedSockets.storedName(of: "edge"))
  let unit = try inherited("edge")
  var pool = InheritedSockets([stored, unit])
  #expect(pool.take(for: listener("edge", port: stored.address.port))?.address == unit.address)
}

@Test func listenersTakeWhatIsThereAndBindTheRest() throws {
  let unit = try inherited("edge")
  let stored = try inherited(InheritedSockets.storedName(of: "old"))
  let stale = try inherited(InheritedSockets.storedName(of: "gone"))
  let sockets = try ListenerSockets(
    [listener("edge", port: 80), listener("old", port: stored.address.port), listener("new", port: 0)],
    inherited: InheritedSockets([unit, stored, stale]))
  #expect(sockets.descriptions.prefix(2).map(\.address) == [unit.address.description, stored.address.description])
  #expect(sockets.raw.prefix(2) == [unit.descriptor.raw, stored.descriptor.raw])
  // A socket unit holds its own anyway.
  #expect(sockets.storable.map(\.listener) == ["old", "new"])
  #expect(sockets.leftovers.map(\.name) == [stale.name])
  #expect(sockets.forgettable == [stale.name])
}

@Test func aListenerThatMovedIsForgottenAtItsOldPlaceAndStoredAtItsNewOne() throws {
  let stored = try inherited(InheritedSockets.storedName(of: "edge"))
  let sockets = try ListenerSockets([listener("edge", "127.0.0.2", port: 0)], inherited: InheritedSockets([stored]))
  #expect(sockets.raw != [stored.descriptor.raw])
  #expect(sockets.forgettable == [stored.name])
  #expect(sockets.storable.map(\.listener) == ["edge"])
  #expect(sockets.storable.map(\.descriptor.raw) == sockets.raw, "the new one")
}

@Test func aListenerThatWasRenamedIsStoredUnderItsNewNameAlone() throws {
  let stored = try inherited(InheritedSockets.storedName(of: "edge"))
  let sockets = try ListenerSockets(
    [listener("front", port: stored.address.port)], inherited: InheritedSockets([stored]))
  #expect(sockets.forgettable == [stored.name])
  #expect(sockets.storable.map(\.listener) == ["front"])
}

@Test func anUpgradeForgetsWhatMovedOrWentAndStoresTheRest() throws {
  let open = [try inherited("a"), try inherited("b"), try inherited("c"), try inherited("d")]
  func handedOver(_ name: String, _ index: Int, isStorable: Bool = true) -> Handover.Listener {
    .init(
      name: name, host: "127.0.0.1", port: open[index].address.port, address: "\(open[index].address)",
      isStorable: isStorable, socket: open[index].descriptor.raw)
  }
  let sockets = try ListenerSockets(
    [
      listener("stays", port: open[0].address.port), listener("moves", port: 0),
      listener("renamed", port: open[2].address.port), listener("unit", port: open[3].address.port),
    ],
    handedOver: [
      handedOver("stays", 0), handedOver("moves", 1), handedOver("was", 2), handedOver("unit", 3, isStorable: false),
    ])
  #expect(Set(sockets.forgettable) == ["listener-moves", "listener-was"])
  #expect(sockets.storable.map(\.listener) == ["stays", "moves", "renamed"])
  let listeners = [
    listener("stays", port: open[0].address.port), listener("moves", port: 0),
    listener("renamed", port: open[2].address.port), listener("unit", port: open[3].address.port),
  ]
  // Until the front of before leaves, its sockets are there for a way back.
  let next = sockets.handover(listeners)
  #expect(next.map(\.name) == ["stays", "moves", "renamed", "unit", "moves"])
  #expect(next.map(\.isStorable) == [true, true, true, false, true])
  sockets.letGoOfFormer()
  #expect(sockets.handover(listeners).count == 4)
}

// MARK: the manager

/// A `NOTIFY_SOCKET` and what came there.
private final class Manager {
  let name = "@bulkhead-test-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
  private let raw = socket(
    AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)

  init() throws {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = [0] + name.utf8.dropFirst()
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
    let result = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(raw, $0, socklen_t(2 + bytes.count)) }
    }
    try #require(result == 0)
  }

  deinit { close(raw) }

  func next() throws -> String? {
    guard case .message(let message) = try MessageSocket.receive(raw, maximumBytes: 4_096, maximumDescriptors: 1) else {
      return nil
    }
    let text = String(decoding: message.bytes, as: UTF8.self)
    return message.descriptors.count == 0 ? text : text + " with a descriptor"
  }
}

@Test func theManagerHearsWhatIsNewAndOnlyThat() throws {
  let manager = try Manager()
  let service = ServiceManager(
    ServiceEnvironment(notifySocket: manager.name), loop: try EventLoop(), note: { _, text in Issue.record("\(text)") })
  service.ready(status: "Serving")
  service.say("Serving")
  service.say("Serving; more")
  service.alive()
  service.store(try inherited("x").descriptor, name: "listener-x")
  service.stopping(status: "Stopping")
  var heard: [String] = []
  while let text = try manager.next() { heard.append(text) }
  #expect(
    heard == [
      "READY=1\nMAINPID=\(getpid())\nSTATUS=Serving", "STATUS=Serving; more",
      "FDSTORE=1\nFDNAME=listener-x\nFDPOLL=0 with a descriptor", "STOPPING=1\nSTATUS=Stopping",
    ], "no watchdog was asked for")
}

@Test func aManagerThatIsBusyHearsItLaterInOrder() throws {
  let manager = try Manager()
  let loop = try EventLoop()
  let service = ServiceManager(
    ServiceEnvironment(notifySocket: manager.name, watchdog: .seconds(1)), loop: loop,
    note: { _, text in Issue.record("\(text)") })
  // More than its queue holds.
  for _ in 0..<700 { service.alive() }
  service.ready(status: "late")
  var last: String?
  var count = 0
  let end = loop.now + .seconds(20)
  try loop.run(
    until: {
      while let text = try? manager.next() { (last, count) = (text, count + 1) }
      return count == 701 || loop.now > end
    })
  #expect(count == 701)
  #expect(last?.hasPrefix("READY=1") == true)
}

@Test func aManagerThatIsGoneIsSaidOnce() throws {
  var notes: [String] = []
  let service = ServiceManager(
    ServiceEnvironment(notifySocket: "@bulkhead-test-nobody"), loop: try EventLoop(), note: { notes.append($1) })
  service.ready(status: "Serving")
  service.stopping(status: "Stopping")
  #expect(notes.count == 1)
}

@Test func withoutAManagerNothingIsSaid() throws {
  let service = ServiceManager(
    ServiceEnvironment(), loop: try EventLoop(), note: { _, text in Issue.record("\(text)") })
  service.ready(status: "Serving")
  service.alive()
  #expect(!service.isThere)
}

// MARK: log lines for journald

@Test(arguments: zip(LogLevel.allCases, [7, 7, 6, 4, 3, 2]))
func journaldGetsTheLevelAsItsPriority(level: LogLevel, priority: Int) {
  let line = LogLine(at: .now, level: level, process: "worker", plugin: "geo", pid: 3, message: "a\nb")
  #expect(line.formatted(.journald) == "<\(priority)>\(level.name) process=worker plugin=geo pid=3 a\\nb")
}
