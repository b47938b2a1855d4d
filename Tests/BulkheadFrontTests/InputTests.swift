import NIOCore
import Testing

@testable import BulkheadFront

/// What a connection of HTTP/1.1 keeps until it is taken, and how long it waits for a request: values, without a connection.
@Suite struct InputTests {
  private static let tooLarge = HTTPFault(431, "too large")

  private func head(_ input: inout HTTP1Input, atMost maximum: Int = 100) -> Result<String?, HTTPFault> {
    do throws(HTTPFault) {
      return .success(
        try input.takeHead(of: .request, atMost: maximum, tooLarge: Self.tooLarge) { bytes throws(HTTPFault) in
          String(decoding: bytes, as: UTF8.self)
        })
    } catch {
      return .failure(error)
    }
  }

  @Test(arguments: [1, 2, 3, 5, 7, 100])
  func aHeadIsTakenOnceAllOfItIsThereWhateverThePieces(_ size: Int) {
    let first = "GET / HTTP/1.1\r\nhost: a\r\n\r\n"
    let second = "GET /b HTTP/1.1\r\nhost: a\r\n\r\n"
    var input = HTTP1Input()
    var taken: [String] = []
    let all = Array((first + "\r\n" + second).utf8)
    for start in stride(from: 0, to: all.count, by: size) {
      input.add(ByteBuffer(bytes: all[start..<min(start + size, all.count)]))
      while input.skipEmptyLines(), case .success(let found?) = head(&input) { taken.append(found) }
      input.settle()
    }
    #expect(taken == [first, second])
    #expect(input.count == 0)
  }

  @Test func aHeadThatCannotBeOneAndOneThatIsTooLargeAreFaultsBeforeTheirEnd() {
    for (text, maximum, status) in [
      ("GET / HTTP/1.1\r\nx: ", 16, 431), ("GET / HTTP/1.1\r\n x: y", 100, 400), ("\u{1}", 100, 400),
      ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", 20, 431),
    ] {
      var input = HTTP1Input()
      input.add(ByteBuffer(string: text))
      guard case .failure(let fault) = head(&input, atMost: maximum) else {
        Issue.record("\(text) is taken")
        continue
      }
      #expect(fault.status == status)
      input.clear()
      #expect(input.count == 0)
    }
  }

  @Test func whatFollowsAHeadIsItsBody() throws {
    var input = HTTP1Input()
    input.add(ByteBuffer(string: "POST / HTTP/1.1\r\n\r\nabcGET"))
    #expect(try head(&input).get() == "POST / HTTP/1.1\r\n\r\n")
    var decoder = BodyDecoder(.length(3), trailerBytes: 0, trailerCount: 0)
    guard case .data(let piece) = try input.takeBody(&decoder) else {
      Issue.record("no body")
      return
    }
    #expect(String(buffer: piece) == "abc")
    guard case .end = try input.takeBody(&decoder) else {
      Issue.record("no end")
      return
    }
    #expect(input.count == 3)
  }

  @Test func theTimeOfAHeadRunsFromTheConnectionsBeginningOrFromItsOwn() {
    var timer = RequestTimer()
    #expect(!timer.isOver(now: .max))
    timer.isConnected(until: 10)
    // The first head has no more time for having begun late.
    timer.headHasBegun(until: 15)
    #expect(timer.awaited == .restOfHead && timer.deadline == 10)
    #expect(!timer.isOver(now: 9) && timer.isOver(now: 10))
    timer.headIsOver()
    #expect(!timer.isOver(now: .max))
    timer.idles(until: 30)
    timer.headHasBegun(until: 25)
    #expect(timer.awaited == .restOfHead && timer.deadline == 25)
    // More of it gives it no more time.
    timer.headHasBegun(until: 40)
    #expect(timer.deadline == 25)
    timer.ends(at: 0)
    #expect(!timer.isOver(now: .max))
  }
}
