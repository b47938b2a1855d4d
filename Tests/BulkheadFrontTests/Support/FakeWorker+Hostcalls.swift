import BulkheadTestSupport
import BulkheadWire
import Glibc

/// An answer to a hostcall, copied.
struct SeenAnswer: Equatable, Sendable {
  var sequence: UInt64
  var status: UInt32
  var number: UInt64
  var payload: [UInt8]
  var text: String { String(decoding: payload, as: UTF8.self) }
}

// A worker that asks, outside any callback.
extension FakeWorker {
  /// Reads the answers that are there; on the worker's thread.
  func takeAnswers(loops: Int) {
    guard !lock.locked({ leavesAnswers }) else { return }
    for loop in 0..<loops {
      while let bytes = try? channel.nextAnswer(loop: loop), let answer = try? HostcallAnswer(bytes) {
        let seen = SeenAnswer(
          sequence: answer.sequence, status: answer.status, number: answer.number, payload: [UInt8](answer.payload))
        lock.locked { answers.append(seen) }
      }
    }
  }

  static func question(
    _ call: HostcallRequest.Call, sequence: UInt64, number: UInt64 = 0, key: [UInt8] = [], value: [UInt8] = [],
    extra: [UInt8] = []
  ) -> [UInt8] {
    var writer = WireWriter()
    key.withUnsafeBytes { key in
      value.withUnsafeBytes { value in
        extra.withUnsafeBytes { extra in
          writer.hostcall(call, sequence: sequence, number: number, key: key, value: value, extra: extra)
        }
      }
    }
    return writer.array
  }

  /// Asks and waits for the answer, at most ten seconds.
  @discardableResult
  func ask(
    _ call: HostcallRequest.Call, number: UInt64 = 0, key: String = "", value: String = "", extra: String = "",
    loop: Int = 0
  ) throws -> SeenAnswer {
    try ask(
      call, number: number, key: Array(key.utf8), value: Array(value.utf8), extra: Array(extra.utf8), loop: loop)
  }

  @discardableResult
  func ask(
    _ call: HostcallRequest.Call, number: UInt64 = 0, key: [UInt8], value: [UInt8], extra: [UInt8] = [],
    loop: Int = 0
  ) throws -> SeenAnswer {
    let sequence = UInt64(lock.locked { answers.count } + 1)
    act(
      Self.question(call, sequence: sequence, number: number, key: key, value: value, extra: extra), loop: loop)
    var answer: SeenAnswer?
    try waitUntil("an answer to \(call)") {
      answer = lock.locked { answers.first { $0.sequence == sequence } }
      return answer != nil
    }
    return try answer ?? { throw TestError(description: "no answer to \(call)") }()
  }

  /// Counts, outside any callback.
  func count(_ operations: [(ReplyOperation.Code, metric: UInt64, amount: Int64)]) {
    var writer = WireWriter()
    let at = writer.replyHead(.streamAction, stream: CallbackRecord.noStream, sequence: 0)
    for (code, metric, amount) in operations {
      var key = UInt32(truncatingIfNeeded: metric).littleEndian
      var value = amount.littleEndian
      withUnsafeBytes(of: &key) { key in
        withUnsafeBytes(of: &value) { value in writer.operation(code, key: key, value: value) }
      }
    }
    writer.replyCounts(at: at, flags: [], operations: operations.count)
    act(writer.array)
  }
}
