import CBulkheadSys

/// Descriptors that came with a message; those that nobody takes are closed.
public struct DescriptorList: ~Copyable, Sendable {
  private var numbers: [Int32]

  init(owning numbers: [Int32]) { self.numbers = numbers }

  deinit { for number in numbers { _ = bh_close(number) } }

  /// How many are left.
  public var count: Int { numbers.count }

  /// The first that is left, or nil.
  public mutating func takeFirst() -> Descriptor? {
    numbers.isEmpty ? nil : Descriptor(owning: numbers.removeFirst())
  }
}

/// A message with its descriptors.
public struct ReceivedMessage: ~Copyable, Sendable {
  /// The message's own bytes.
  public var bytes: [UInt8]
  /// What came with it.
  public var descriptors: DescriptorList

  /// Takes the message apart.
  public consuming func takeDescriptors() -> DescriptorList { descriptors }
}

/// What a look at a message socket gave.
public enum Reception: ~Copyable, Sendable {
  /// A whole message, and what came with it.
  case message(ReceivedMessage)
  /// Nothing is there yet.
  case wouldWait
  /// The peer is gone.
  case end
}

/// Messages over a SOCK_SEQPACKET Unix socket, each whole, each with up to 128 descriptors.
public enum MessageSocket {
  /// The most descriptors that one message carries.
  public static let maximumDescriptors = Int(BH_MAXIMUM_DESCRIPTORS)

  /// Two connected ends, both blocking and closed on exec.
  public struct Pair: ~Copyable, Sendable {
    /// One end.
    public var first: Descriptor
    /// The other end.
    public var second: Descriptor

    /// - Throws: `SystemError` where the process has no descriptors left.
    public init() throws(SystemError) {
      var ends: [Int32] = [-1, -1]
      try Funnel.call("make a socket pair") {
        ends.withUnsafeMutableBufferPointer { bh_seqpacket_pair($0.baseAddress) }
      }
      first = Descriptor(owning: ends[0])
      second = Descriptor(owning: ends[1])
    }

    /// One end; the other is closed.
    public consuming func takeFirst() -> Descriptor { first }
    /// The other end; the first is closed.
    public consuming func takeSecond() -> Descriptor { second }
  }

  /// Sends one message. The descriptors stay the caller's; the peer gets duplicates.
  ///
  /// - Returns: false where the socket's buffer is full and the socket does not block.
  /// - Throws: `SystemError`: EPIPE or ECONNRESET where the peer is gone, EMSGSIZE where the message is too long.
  public static func send(
    _ raw: Int32, _ bytes: UnsafeRawBufferPointer, descriptors: [Int32] = []
  ) throws(SystemError) -> Bool {
    try Funnel.unlessWaiting("send a message", on: "on descriptor \(raw)") {
      bh_send(raw, bytes.baseAddress, bytes.count, descriptors, descriptors.count)
    } != nil
  }

  /// Receives one message.
  ///
  /// - Throws: `SystemError`: EMSGSIZE where the message is longer than `maximumBytes` or has more descriptors than
  ///   `maximumDescriptors` (all that came are closed), EMFILE-like cuts included.
  public static func receive(
    _ raw: Int32, maximumBytes: Int, maximumDescriptors: Int
  ) throws(SystemError) -> Reception {
    var numbers = [Int32](repeating: -1, count: min(max(maximumDescriptors, 0), Self.maximumDescriptors))
    var count = numbers.count
    var bytes: [UInt8] = []
    var outcome: Result<Int64?, SystemError> = .success(nil)
    bytes = [UInt8](unsafeUninitializedCapacity: max(maximumBytes, 1)) { buffer, filled in
      do throws(SystemError) {
        let received = try Funnel.unlessWaiting("receive a message", on: "on descriptor \(raw)") {
          // Room for the next try too, where a signal interrupted the first.
          count = numbers.count
          return bh_receive(raw, buffer.baseAddress, max(maximumBytes, 0), &numbers, &count)
        }
        filled = Int(received ?? 0)
        outcome = .success(received)
      } catch {
        filled = 0
        outcome = .failure(error)
      }
    }
    switch outcome {
    case .failure(let error): throw error
    case .success(nil): return .wouldWait
    case .success(.some(let length)):
      let descriptors = DescriptorList(owning: Array(numbers.prefix(count)))
      // One of no bytes that brings descriptors is none the less a message.
      if length == 0, descriptors.count == 0 { return .end }
      return .message(ReceivedMessage(bytes: bytes, descriptors: descriptors))
    }
  }
}
