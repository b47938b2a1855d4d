import CBulkheadSys

/// Journald's socket for records with fields (systemd.io/JOURNAL_NATIVE_PROTOCOL). One thread.
public struct JournalSocket: ~Copyable {
  /// Where journald listens.
  public static let path = "/run/systemd/journal/socket"
  /// How long a full socket is waited for before a record counts as not taken: milliseconds.
  private static let patience: Int32 = 1_000
  /// POLLOUT.
  private static let writable: Int16 = 4

  private let path: String
  private var socket: Descriptor?

  /// The journal at that socket; nothing is opened until a line is sent.
  public init(path: String = Self.path) { self.path = path }

  /// Sends one record; one that is larger than a datagram goes as sealed memory.
  ///
  /// - Throws: `SystemError` where nobody takes it.
  public mutating func send(_ entry: [UInt8]) throws(SystemError) {
    do throws(SystemError) {
      try sendOnce(entry)
    } catch {
      // Journald may have been started anew since the last record.
      socket = nil
      guard error.code != Errno.again else { throw error }
      try sendOnce(entry)
    }
  }

  private mutating func sendOnce(_ entry: [UInt8]) throws(SystemError) {
    let raw = try connected()
    do throws(SystemError) {
      try Self.send(raw, entry)
    } catch {
      guard error.code == Errno.messageTooLong || error.code == Errno.noBuffers else { throw error }
      let memory = try Memfd.journalEntry(entry)
      try Self.send(raw, [], memory.raw)
    }
  }

  private static func send(_ raw: Int32, _ bytes: [UInt8], _ descriptor: Int32? = nil) throws(SystemError) {
    for _ in 0..<2 {
      let isTaken = try bytes.withRawBytes { (bytes) throws(SystemError) in
        try MessageSocket.send(raw, bytes, descriptors: descriptor.map { [$0] } ?? [])
      }
      if isTaken { return }
      _ = bh_poll(raw, writable, patience)
    }
    throw SystemError(operation: "send a record to", subject: "journald", code: Errno.again)
  }

  private mutating func connected() throws(SystemError) -> Int32 {
    if socket == nil { socket = try Self.connect(to: path) }
    guard let raw = socket?.raw else {
      throw SystemError(operation: "reach", subject: path, code: Errno.notConnected)
    }
    return raw
  }

  private static func connect(to path: String) throws(SystemError) -> Descriptor {
    var text = path
    let length = text.utf8.count
    let outcome = text.withUTF8 { text -> Result<Int64, SystemError> in
      do throws(SystemError) {
        return .success(
          try Funnel.call("reach journald", on: path) {
            text.withMemoryRebound(to: CChar.self) { bh_unix_datagram_to($0.baseAddress, length) }
          })
      } catch { return .failure(error) }
    }
    return Descriptor(owning: Int32(truncatingIfNeeded: try outcome.get()))
  }
}
