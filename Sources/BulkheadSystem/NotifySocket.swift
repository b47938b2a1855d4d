import CBulkheadSys

/// The socket on which a service manager is told how a service is: one datagram a message, as in sd_notify(3).
public enum NotifySocket {
  /// Sends one message. The descriptors stay the caller's; the manager gets duplicates.
  ///
  /// - Parameter path: of `NOTIFY_SOCKET`: a path, or an abstract name after `@`.
  /// - Returns: false where the manager's queue is full: to be tried again.
  /// - Throws: `SystemError` where there is no such socket, or nobody behind it.
  public static func send(
    _ message: [UInt8], to path: String, descriptors: [Int32] = []
  ) throws(SystemError) -> Bool {
    var path = path
    let length = path.utf8.count
    let socket = path.withUTF8 { text -> Result<Int64, SystemError> in
      do throws(SystemError) {
        return .success(
          try Funnel.call("tell the service manager", on: "NOTIFY_SOCKET") {
            text.withMemoryRebound(to: CChar.self) { bh_unix_datagram_to($0.baseAddress, length) }
          })
      } catch { return .failure(error) }
    }
    let descriptor = Descriptor(owning: Int32(truncatingIfNeeded: try socket.get()))
    let raw = descriptor.raw
    return try message.withRawBytes { (bytes) throws(SystemError) in
      try MessageSocket.send(raw, bytes, descriptors: descriptors)
    }
  }
}
