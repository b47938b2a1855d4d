import Foundation

/// A blocking HTTP/1.1 client that shows exactly what came over the wire, for tests alone.
struct HTTPAnswer: CustomStringConvertible {
  var status: Int
  var headers: [(name: String, value: String)]
  var body: [UInt8]

  var text: String { String(decoding: body, as: UTF8.self) }

  /// The first value under that name, in any case.
  func header(_ name: String) -> String? {
    headers.first { $0.name.lowercased() == name.lowercased() }?.value
  }

  var description: String { "\(status) \(headers.map { "\($0.name): \($0.value)" }) \(text.prefix(300))" }
}

struct ClientError: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}

/// One connection, to a TCP port of this machine or to a Unix socket.
///
/// `@unchecked Sendable`: one thread sends and one receives at a time; only receiving touches the buffer.
final class HTTPConnection: @unchecked Sendable {
  let descriptor: Int32
  private var buffered: [UInt8] = []

  init(port: Int) throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = in_port_t(UInt16(truncatingIfNeeded: port)).bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    let connected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    guard connected == 0 else {
      // All is initialised, so `deinit` closes the descriptor.
      let why = String(cString: strerror(errno))
      throw ClientError("cannot connect to port \(port): \(why)")
    }
    var on: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
    setTimeout(seconds: 30)
  }

  init(unixSocket path: String) throws {
    descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8.prefix(107))) }
    let connected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard connected == 0 else {
      // All is initialised, so `deinit` closes the descriptor.
      let why = String(cString: strerror(errno))
      throw ClientError("cannot connect to \(path): \(why)")
    }
    setTimeout(seconds: 30)
  }

  deinit { close(descriptor) }

  func setTimeout(seconds: Int) {
    var time = timeval(tv_sec: seconds, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
  }

  func send(_ text: String) throws { try send(Array(text.utf8)) }

  func send(_ bytes: [UInt8]) throws {
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes {
        Foundation.send(descriptor, $0.baseAddress.map { $0 + sent }, bytes.count - sent, Int32(MSG_NOSIGNAL))
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw ClientError("send: \(String(cString: strerror(errno)))") }
      sent += count
    }
  }

  /// More bytes; false at the end of the stream.
  private func fill() throws -> Bool {
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = recv(descriptor, &chunk, chunk.count, 0)
      if count < 0, errno == EINTR { continue }
      if count < 0 { throw ClientError("receive: \(String(cString: strerror(errno)))") }
      buffered += chunk.prefix(count)
      return count > 0
    }
  }

  private func line() throws -> String {
    while true {
      if let end = buffered.firstIndex(of: 10) {
        let text = String(decoding: buffered[..<end], as: UTF8.self)
        buffered.removeSubrange(...end)
        return text.hasSuffix("\r") ? String(text.dropLast()) : text
      }
      guard try fill() else { throw ClientError("the connection ended within a line") }
    }
  }

  private func take(_ count: Int) throws -> [UInt8] {
    while buffered.count < count {
      guard try fill() else { throw ClientError("the connection ended \(count - buffered.count) bytes early") }
    }
    let result = Array(buffered.prefix(count))
    buffered.removeFirst(count)
    return result
  }

  /// Whether the peer has closed: reads what is left.
  func isClosedByPeer() throws -> Bool {
    do { while try fill() {} } catch is ClientError where errno == ECONNRESET { return true }
    return true
  }

  func receive(toHead: Bool = false) throws -> HTTPAnswer {
    let first = try line().split(separator: " ", maxSplits: 2)
    guard first.count >= 2, first[0].hasPrefix("HTTP/1."), let status = Int(first[1]) else {
      throw ClientError("not a status line: \(first)")
    }
    var answer = HTTPAnswer(status: status, headers: [], body: [])
    while case let text = try line(), !text.isEmpty {
      let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2 else { throw ClientError("not a header: \(text)") }
      answer.headers.append((String(parts[0]), parts[1].trimmingCharacters(in: .whitespaces)))
    }
    if status == 100 { return try receive(toHead: toHead) }
    if toHead || status == 204 || status == 304 { return answer }
    if answer.header("transfer-encoding")?.lowercased() == "chunked" {
      while true {
        guard let size = Int(try line().prefix { $0 != ";" }, radix: 16) else { throw ClientError("not a chunk size") }
        answer.body += try take(size)
        if size == 0 {
          while try !line().isEmpty {}
          return answer
        }
        _ = try line()
      }
    }
    if let length = answer.header("content-length").flatMap(Int.init) {
      answer.body = try take(length)
    } else {
      while try fill() {}
      answer.body = buffered
      buffered = []
    }
    return answer
  }

  func request(
    _ method: String = "GET", _ path: String = "/", headers: [(String, String)] = [], body: [UInt8]? = nil
  ) throws -> HTTPAnswer {
    var text = "\(method) \(path) HTTP/1.1\r\nhost: test.example\r\n"
    for (name, value) in headers { text += "\(name): \(value)\r\n" }
    if let body { text += "content-length: \(body.count)\r\n" }
    try send(Array((text + "\r\n").utf8) + (body ?? []))
    return try receive(toHead: method == "HEAD")
  }
}
