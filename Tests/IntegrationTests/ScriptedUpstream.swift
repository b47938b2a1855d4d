import Foundation

/// A TCP server on a port of this machine that does with each connection what the test says, on a thread of its own.
final class ScriptedUpstream: @unchecked Sendable {
  // The counters are guarded by the condition; the descriptor is set once.
  private let listener: Int32
  let port: Int
  private let condition = NSCondition()
  private var requests = 0

  /// One accepted connection.
  final class Peer {
    let descriptor: Int32
    private let server: ScriptedUpstream
    fileprivate init(_ descriptor: Int32, _ server: ScriptedUpstream) {
      self.descriptor = descriptor
      self.server = server
    }
    deinit { close(descriptor) }

    /// Everything up to and with the empty line; nil at the end of the stream.
    func readHead() throws -> String? {
      var text: [UInt8] = []
      var byte: UInt8 = 0
      while !text.suffix(4).elementsEqual([13, 10, 13, 10]) {
        let count = recv(descriptor, &byte, 1, 0)
        if count == 0 { return nil }
        if count < 0 { throw ClientError("receive: \(String(cString: strerror(errno)))") }
        text.append(byte)
      }
      server.count()
      return String(decoding: text, as: UTF8.self)
    }

    /// Up to `count` bytes; empty at the end.
    func read(_ count: Int) -> [UInt8] {
      var bytes = [UInt8](repeating: 0, count: count)
      let got = recv(descriptor, &bytes, count, 0)
      return Array(bytes.prefix(max(got, 0)))
    }

    func write(_ text: String) throws { try write(Array(text.utf8)) }

    func write(_ bytes: [UInt8]) throws {
      var sent = 0
      while sent < bytes.count {
        let count = bytes.withUnsafeBytes {
          send(descriptor, $0.baseAddress.map { $0 + sent }, bytes.count - sent, Int32(MSG_NOSIGNAL))
        }
        guard count > 0 else { throw ClientError("send: \(String(cString: strerror(errno)))") }
        sent += count
      }
    }
  }

  init(_ script: @escaping @Sendable (Peer) -> Void) throws {
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    self.listener = listener
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let bound = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, size) == 0 && listen(listener, 64) == 0 && getsockname(listener, $0, &size) == 0
      }
    }
    guard bound else { throw ClientError("cannot listen: \(String(cString: strerror(errno)))") }
    port = Int(UInt16(bigEndian: address.sin_port))
    Thread { [self] in
      while true {
        let descriptor = accept(listener, nil, nil)
        guard descriptor >= 0 else { return }
        let peer = Peer(descriptor, self)
        let box = Unmanaged.passRetained(peer)
        let pointer = UInt(bitPattern: box.toOpaque())
        Thread {
          guard let raw = UnsafeRawPointer(bitPattern: pointer) else { return }
          script(Unmanaged<Peer>.fromOpaque(raw).takeRetainedValue())
        }.start()
      }
    }.start()
  }

  /// Listens no more: what connects from now on is refused.
  func stop() {
    shutdown(listener, Int32(SHUT_RDWR))
    close(listener)
  }

  fileprivate func count() {
    condition.lock()
    requests += 1
    condition.broadcast()
    condition.unlock()
  }

  /// Waits until that many requests have been read.
  func waitForRequest(_ number: Int = 1) throws {
    condition.lock()
    defer { condition.unlock() }
    let end = Date(timeIntervalSinceNow: 30)
    while requests < number {
      guard condition.wait(until: end) else { throw ClientError("request \(number) never came") }
    }
  }
}
