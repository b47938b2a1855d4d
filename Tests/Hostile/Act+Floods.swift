import BulkheadCore
import BulkheadRing
import BulkheadSystem
import BulkheadWire
import Glibc

extension Act {
  private static func action(stream: UInt32, flags: ReplyRecord.Flags = []) -> [UInt8] {
    var writer = WireWriter()
    let at = writer.replyHead(.streamAction, stream: stream, sequence: 0)
    writer.replyCounts(at: at, flags: flags, operations: 0)
    return writer.array
  }

  /// More than anybody reads. All but the first begin once it serves, without a callback.
  static let floods: [String: Act] = [
    // Its answers, and between them as many actions of its own as the ring takes: it is always full.
    "reply-flood": Act { channel in
      let idle = action(stream: CallbackRecord.noStream)
      channel.serve { record, loop in
        channel.answer(record, loop)
        for _ in 0..<50_000 { channel.send(idle, loop) }
        return true
      }
    },
    "root-flood": Act { channel in
      let idle = action(stream: CallbackRecord.noStream)
      while true { channel.send(idle) }
    },
    "stray-flood": Act { channel in
      let stray = action(stream: 0x7fff_ffff, flags: .continueRequest)
      while true { channel.send(stray) }
    },
    // Deaths of one stream that is over, without end.
    "death-flood": Act { channel in
      let (record, loop) = channel.next()
      channel.begin(record, loop)
      channel.answer(record, loop)
      channel.end(loop)
      let (done, _) = channel.next()
      var writer = WireWriter()
      writer.vmEnded(VMEnd(reason: .trap), stream: done.stream, sequence: 0)
      while true { channel.send(writer.array, loop) }
    },
    // Edits of a stream that it holds, each as long as a reply may be.
    "edit-flood": Act { channel in
      let (record, loop) = channel.next()
      channel.begin(record, loop)
      channel.answer(record, loop, flags: .pause)
      channel.end(loop)
      var writer = WireWriter()
      let at = writer.replyHead(.streamAction, stream: record.stream, sequence: 0)
      Array("x-flood".utf8).withUnsafeBytes { key in
        for _ in 0..<4_096 { writer.edit(.replace, .requestHeaders, key: key, value: key) }
      }
      writer.replyCounts(at: at, flags: [], operations: 4_096)
      while true { channel.send(writer.array, loop) }
    },
    // Always one more word of a stream that it holds, so that its ring is never empty.
    "talk": Act { channel in
      let (record, loop) = channel.next()
      channel.begin(record, loop)
      channel.answer(record, loop, flags: .pause)
      channel.end(loop)
      let idle = action(stream: record.stream)
      while true { channel.send(idle, loop) }
    },
    "doorbell-flood": Act { channel in
      while true { channel.worker.ring(loop: 0) }
    },
    // Questions without ever taking an answer.
    "hostcall-flood": Act { channel in
      var sequence: UInt64 = 0
      while true {
        sequence += 1
        var writer = WireWriter()
        Array("key".utf8).withUnsafeBytes { writer.hostcall(.getSharedData, sequence: sequence, key: $0) }
        channel.send(writer.array)
      }
    },
    // Questions without a wait; what there is of answers is taken.
    "hostcall-batch": Act { channel in
      var sequence: UInt64 = 0
      while true {
        sequence += 1
        var writer = WireWriter()
        Array("queue \(sequence % 100)".utf8).withUnsafeBytes {
          writer.hostcall(.registerQueue, sequence: sequence, key: $0)
        }
        channel.send(writer.array)
        while let answer = try? channel.worker.nextAnswer(loop: 0), !answer.isEmpty {}
      }
    },
    // Questions one by one, and large ones.
    "hostcall-chain": Act { channel in
      let value = [UInt8](repeating: 1, count: 32 << 10)
      var sequence: UInt64 = 0
      while true {
        sequence += 1
        var writer = WireWriter()
        Array("key \(sequence % 1_000)".utf8).withUnsafeBytes { key in
          value.withUnsafeBytes { writer.hostcall(.setSharedData, sequence: sequence, key: key, value: $0) }
        }
        channel.send(writer.array)
        while (try? channel.worker.nextAnswer(loop: 0)) == nil {
          _ = channel.worker.spinForAnswer(loop: 0, nanoseconds: 100_000)
        }
      }
    },
    // Queues, keys and metrics without end.
    "shared-flood": Act { channel in
      var sequence: UInt64 = 0
      let value = [UInt8](repeating: 1, count: 8 << 10)
      while true {
        for call in [HostcallRequest.Call.setSharedData, .registerQueue, .defineMetric, .enqueue] {
          sequence += 1
          var writer = WireWriter()
          Array("key \(sequence)".utf8).withUnsafeBytes { key in
            value.withUnsafeBytes { value in
              switch call {
              case .setSharedData: writer.hostcall(call, sequence: sequence, key: key, value: value)
              case .enqueue: writer.hostcall(call, sequence: sequence, number: 1, value: value)
              default: writer.hostcall(call, sequence: sequence, key: key)
              }
            }
          }
          channel.send(writer.array)
          while (try? channel.worker.nextAnswer(loop: 0)) == nil {
            _ = channel.worker.spinForAnswer(loop: 0, nanoseconds: 100_000)
          }
        }
      }
    },
    "log-flood": Act { _ in
      let line = ReportFrame.log(level: .error, request: "", message: String(repeating: "flood ", count: 20)).encoded()
      while true { Hostile.write(line, to: ChildDescriptor.report) }
    },
    "frame-flood": Act { _ in
      let frame = ReportFrame.tickPeriod(milliseconds: 1).encoded()
      while true { Hostile.write(frame, to: ChildDescriptor.report) }
    },
    "stderr-flood": Act { _ in
      let line = Array((String(repeating: "flood ", count: 100) + "\n").utf8)
      while true { Hostile.write(line, to: ChildDescriptor.standardError) }
    },
    "report-garbage": Act { channel in
      Hostile.write(
        (0..<4_096).map { _ in UInt8(truncatingIfNeeded: channel.random.next()) }, to: ChildDescriptor.report)
      channel.sleep()
    },
  ]

  /// Never an answer in time; SIGUSR1 is ignored, so that only SIGKILL ends it.
  static let stuck: [String: Act] = [
    "hang": Act { channel in
      channel.serve { _, _ in channel.sleep() }
    },
    // It says that it is idle.
    "hang-idle": Act { channel in
      channel.serve { _, _ in
        channel.worker.end(memoryBytes: .max, droppedLogLines: .max)
        channel.sleep()
      }
    },
    // It says that another loop's callback has just begun, all the time.
    "hang-other": Act { channel in
      channel.serve { _, _ in
        while true {
          channel.worker.begin(
            callback: CallbackKind.tick.rawValue, loop: 63, stream: .max, sequence: .max,
            nowNanoseconds: Clock.monotonicNanoseconds)
          WorkerChannel.pause(nanoseconds: 500_000)
        }
      }
    },
    // It says that the callback begins in the future, and that it runs what there is not.
    "hang-future": Act { channel in
      channel.serve { record, loop in
        channel.worker.begin(
          callback: .max, loop: loop, stream: record.stream, sequence: record.sequence, nowNanoseconds: .max)
        channel.sleep()
      }
    },
    // The front takes it for dead, and it stays.
    "desert": Act { channel in
      RawDescriptor.close(ChildDescriptor.Worker.liveness)
      channel.sleep()
    },
    // It has done its worst before it served.
    "steal-rings": Act { channel in channel.serve { _, _ in false } },
    "unsealed": Act { channel in channel.sleep() },
    // It takes nothing from its ring.
    "hold-ring": Act { channel in channel.sleep() },
    // It answers after everybody has given up.
    "late": Act { channel in
      channel.serve { _, _ in
        let end = Clock.monotonicNanoseconds &+ 150_000_000
        while Clock.monotonicNanoseconds < end { WorkerChannel.pause(nanoseconds: 5_000_000) }
        return false
      }
    },
  ]
}
