import BulkheadSystem
import CBulkheadSys
import Glibc
import Testing

@Suite struct MessageTests {
  @Test func descriptorsArriveWithTheirMessageAndCloseOnExec() throws {
    let pair = try MessageSocket.Pair()
    let memory = try Memfd.message(name: "gift", Array("a gift".utf8))
    #expect(try send(pair.first.raw, "hello", [memory.descriptor.raw, memory.descriptor.raw]))
    guard
      case .message(var message) = try MessageSocket.receive(
        pair.second.raw, maximumBytes: 64, maximumDescriptors: 2)
    else {
      Issue.record("no message came")
      return
    }
    #expect(message.bytes == Array("hello".utf8))
    #expect(message.descriptors.count == 2)
    guard let taken = message.descriptors.takeFirst() else { return }
    let gift = taken.release()
    #expect(gift != memory.descriptor.raw)
    #expect(fcntl(gift, F_GETFD) & FD_CLOEXEC != 0)
    #expect(try RawDescriptor.readFile(gift, atMost: 64) == Array("a gift".utf8))
    RawDescriptor.close(gift)
  }

  @Test func descriptorsThatNobodyTakesAreClosed() throws {
    let pair = try MessageSocket.Pair()
    let pipe = try Pipe()
    #expect(try send(pair.first.raw, "x", [pipe.write.raw]))
    let read = pipe.takeRead()
    #expect(try !RawDescriptor.isHungUp(read.raw), "the message in flight holds the other end")
    do {
      guard
        case .message(let message) = try MessageSocket.receive(
          pair.second.raw, maximumBytes: 64, maximumDescriptors: 1)
      else {
        Issue.record("no message came")
        return
      }
      #expect(message.descriptors.count == 1)
    }
    #expect(hangsUp(read.raw))
  }

  @Test(arguments: [(sent: 1, room: 0), (2, 1), (5, 4), (8, 1)])
  func moreDescriptorsThanThereIsRoomForAreAllClosedAndAnError(_ sent: Int, _ room: Int) throws {
    let pair = try MessageSocket.Pair()
    let pipe = try Pipe()
    #expect(try send(pair.first.raw, "x", [Int32](repeating: pipe.write.raw, count: sent)))
    let read = pipe.takeRead()
    do {
      _ = try MessageSocket.receive(pair.second.raw, maximumBytes: 64, maximumDescriptors: room)
      Issue.record("a cut message came through")
    } catch {
      #expect(error.code == EMSGSIZE)
    }
    #expect(hangsUp(read.raw), "a descriptor of the refused message is still open")
  }

  @Test func aMessageThatIsLongerThanTheRoomIsAnError() throws {
    let pair = try MessageSocket.Pair()
    let pipe = try Pipe()
    #expect(try send(pair.first.raw, "too long", [pipe.write.raw]))
    let read = pipe.takeRead()
    do {
      _ = try MessageSocket.receive(pair.second.raw, maximumBytes: 4, maximumDescriptors: 4)
      Issue.record("a cut message came through")
    } catch {
      #expect(error.code == EMSGSIZE)
      #expect(error.operation == "receive a message")
    }
    #expect(hangsUp(read.raw))
  }

  @Test func anEmptySocketWouldWaitAndAClosedOneIsAtItsEnd() throws {
    let pair = try MessageSocket.Pair()
    try pair.second.setNonBlocking()
    guard case .wouldWait = try MessageSocket.receive(pair.second.raw, maximumBytes: 4, maximumDescriptors: 0) else {
      Issue.record("something came from nowhere")
      return
    }
    let second = pair.takeSecond()
    guard case .end = try MessageSocket.receive(second.raw, maximumBytes: 4, maximumDescriptors: 0) else {
      Issue.record("the peer is gone and nobody says so")
      return
    }
  }

  @Test func aFullSocketSaysSo() throws {
    let pair = try MessageSocket.Pair()
    try pair.first.setNonBlocking()
    var sent = 0
    while try send(pair.first.raw, "again and again", []), sent < 100_000 { sent += 1 }
    #expect(sent > 0 && sent < 100_000)
  }

  @Test func sendingToNobodyIsAnErrorAndNoSignal() throws {
    let first = try MessageSocket.Pair().takeFirst()
    do {
      _ = try send(first.raw, "x", [])
      Issue.record("it was sent to nobody")
    } catch {
      #expect(error.code == EPIPE)
    }
  }

  /// Whether the other end goes. A child that another test starts at this moment holds a copy until its exec, so this
  /// waits for the end instead of looking once.
  private func hangsUp(_ raw: Int32) -> Bool { bh_poll(raw, 0, 10_000) & 0x10 != 0 }

  private func send(_ raw: Int32, _ text: String, _ descriptors: [Int32]) throws(SystemError) -> Bool {
    let bytes = Array(text.utf8)
    return try bytes.withUnsafeBufferPointer { (buffer) throws(SystemError) in
      try MessageSocket.send(raw, UnsafeRawBufferPointer(buffer), descriptors: descriptors)
    }
  }
}
