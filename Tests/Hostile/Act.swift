import BulkheadCore
import BulkheadRing
import BulkheadSystem
import BulkheadWire
import Glibc

/// What the hostile worker can do once it serves.
struct Act: Sendable {
  let run: @Sendable (RawChannel) -> Never
  init(_ run: @escaping @Sendable (RawChannel) -> Never) { self.run = run }
  func callAsFunction(_ channel: RawChannel) -> Never { run(channel) }

  private static var none: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: nil, count: 0) }

  static let all: [String: Act] = rings.merging(replies) { $1 }.merging(floods) { $1 }.merging(stuck) { $1 }

  // MARK: the shared memory

  private static let rings: [String: Act] = [
    // Random bytes in the reply ring, and a cursor that makes them look like records.
    "garbage": Act { channel in
      channel.serve { _, _ in
        channel.scribble()
        channel.store(channel.load(.replyTail) &+ 1_024, .replyTail)
        channel.worker.ring(loop: 0)
        channel.sleep()
      }
    },
    "reply-cursor": Act { channel in
      channel.serve { _, loop in
        channel.store(0x7fff_fff1, .replyTail)
        channel.worker.ring(loop: loop)
        channel.sleep()
      }
    },
    "callback-cursor": Act { channel in
      channel.serve { _, loop in
        channel.store(channel.load(.callbackHead) &+ 0x4000_0000, .callbackHead)
        channel.worker.ring(loop: loop)
        channel.sleep()
      }
    },
    // All of the memory, over and over.
    "scribble": Act { channel in
      channel.serve { _, _ in
        while true {
          for offset in stride(from: 0, to: channel.layout.totalBytes, by: 8) {
            channel.memory.storeBytes(of: channel.random.next(), toByteOffset: offset, as: UInt64.self)
          }
        }
      }
    },
  ]

  // MARK: replies that no honest worker sends

  private static let replies: [String: Act] = [
    "noise": Act { channel in
      channel.serve { _, loop in
        channel.send((0..<64).map { _ in UInt8(truncatingIfNeeded: channel.random.next()) }, loop)
        return true
      }
    },
    "twice": Act { channel in
      channel.serve { record, loop in
        channel.answer(record, loop)
        channel.answer(record, loop)
        return true
      }
    },
    "wrong-sequence": Act { channel in
      channel.serve { record, loop in
        var writer = WireWriter()
        _ = writer.replyHead(.callbackDone, stream: record.stream, sequence: record.sequence &+ 1)
        channel.send(writer.array, loop)
        return true
      }
    },
    "foreign-stream": Act { channel in
      channel.serve { record, loop in
        var writer = WireWriter()
        _ = writer.replyHead(.callbackDone, stream: record.stream &+ 1, sequence: record.sequence)
        channel.send(writer.array, loop)
        return true
      }
    },
    // Closes whatever stream there may be, its own or another plugin's: every slot in every generation.
    "foreign-action": Act { channel in
      channel.serve { _, loop in
        for generation in UInt32(1)..<64 {
          for slot in UInt32(0)..<256 {
            var writer = WireWriter()
            let at = writer.replyHead(.streamAction, stream: generation << 18 | slot, sequence: 0)
            writer.replyCounts(at: at, flags: .closeStream, operations: 0)
            channel.send(writer.array, loop)
          }
        }
        channel.sleep()
      }
    },
    "many-edits": Act { channel in
      channel.serve { record, loop in
        channel.answer(record, loop, operations: 4_096) { writer in
          for index in 0..<4_096 {
            Array("x-\(index)".utf8).withUnsafeBytes { writer.edit(.add, .requestHeaders, key: $0, value: none) }
          }
        }
        return true
      }
    },
    "large-edit": Act { channel in
      let value = [UInt8](repeating: 0x61, count: 1 << 20)
      channel.serve { record, loop in
        channel.answer(record, loop, operations: 1) { writer in
          Array("x-large".utf8).withUnsafeBytes { key in
            value.withUnsafeBytes { writer.edit(.add, .requestHeaders, key: key, value: $0) }
          }
        }
        return true
      }
    },
    // A body that it does not hold.
    "unheld-body": Act { channel in
      channel.serve { record, loop in
        channel.answer(record, loop, operations: 1) { writer in
          Array("x".utf8).withUnsafeBytes {
            writer.splice(.responseBody, start: 0, length: .max, value: $0)
          }
        }
        return true
      }
    },
    "smuggle": Act { channel in
      channel.serve { record, loop in
        channel.answer(record, loop, operations: 1) { writer in
          Array("x-a".utf8).withUnsafeBytes { key in
            Array("b\r\nx-smuggled: 1".utf8).withUnsafeBytes {
              writer.edit(.add, .requestHeaders, key: key, value: $0)
            }
          }
        }
        return true
      }
    },
  ]
}
