import BulkheadSystem
import BulkheadWire
import NIOConcurrencyHelpers

/// Where events for the supervisor go. Any thread; it never blocks.
///
/// What the socket does not take at once is kept and sent before the next event, or with `flush`.
final class EventSink: Sendable {
  private let descriptor: Int32
  private let waiting = NIOLockedValueBox<[[UInt8]]>([])

  /// Events that are kept while the supervisor does not read; beyond that the oldest go.
  private static let maximumWaiting = 4_096

  /// - Parameter descriptor: of the control socket, non-blocking.
  init(descriptor: Int32) { self.descriptor = descriptor }

  func send(_ event: FrontEvent) {
    waiting.withLockedValue { waiting in
      if waiting.count >= Self.maximumWaiting { waiting.removeFirst() }
      waiting.append(event.encoded())
      drain(&waiting)
    }
  }

  /// Tries again what the socket did not take.
  ///
  /// - Returns: whether nothing is left.
  @discardableResult
  func flush() -> Bool {
    waiting.withLockedValue { waiting in
      drain(&waiting)
      return waiting.isEmpty
    }
  }

  private func drain(_ waiting: inout [[UInt8]]) {
    while let first = waiting.first {
      // A supervisor that is gone reads nothing more: the control thread sees the end of the socket and ends the front.
      let sent = first.withUnsafeBytes { bytes in (try? MessageSocket.send(descriptor, bytes)) ?? true }
      guard sent else { return }
      waiting.removeFirst()
    }
  }
}
