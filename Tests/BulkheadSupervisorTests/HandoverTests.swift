import BulkheadSystem
import BulkheadWire
import Glibc
import Testing

@testable import BulkheadSupervisor

@Suite struct HandoverTests {
  /// Descriptors that are open for as long as it lives.
  final class Open {
    let numbers: [Int32]
    init(_ count: Int) { numbers = (0..<count).map { _ in open("/dev/null", O_RDONLY | O_CLOEXEC) } }
    deinit { for number in numbers { close(number) } }
  }

  static func handover(_ open: [Int32]) -> Handover {
    Handover(
      number: 3, version: "1.2.3", failure: "why", nextWorker: 77,
      listeners: [
        .init(name: "edge", host: "127.0.0.1", port: 0, address: "127.0.0.1:4711", isStorable: true, socket: open[0])
      ],
      generations: [
        .init(
          version: "1.2.2", isLeaving: true,
          front: .init(pid: 10, pidfd: open[1], report: open[2], errors: open[3], reportRest: [1, 2], errorRest: [3]),
          control: open[4], lifeline: open[5],
          workers: [
            .init(
              id: 12, plugin: "stamp", wasReady: true, startedNanoseconds: 1_234,
              child: .init(pid: 11, pidfd: open[6], report: open[7], errors: open[8]))
          ])
      ], events: .init(since: -5, last: 7, kept: [[1, 2], []]))
  }

  static func decode(_ bytes: [UInt8]) -> Result<Handover, WireError> {
    bytes.withUnsafeBytes { bytes in
      do throws(WireError) { return .success(try Handover(bytes)) } catch { return .failure(error) }
    }
  }

  @Test func aHandoverComesBackAsItWasWritten() throws {
    let open = Open(9)
    let handover = Self.handover(open.numbers)
    #expect(try Self.decode(handover.encoded()).get() == handover)
    #expect(Set(handover.descriptors) == Set(open.numbers))
  }

  @Test func aFailureWithoutEndIsCutSoThatTheNextProgramCanReadIt() throws {
    let open = Open(9)
    var handover = Self.handover(open.numbers)
    handover.failure = String(repeating: "ü", count: 1 << 20)
    let read = try Self.decode(handover.encoded()).get().failure
    #expect(handover.failure.hasPrefix(read) && read.utf8.count == Handover.maximumFailure)
  }

  @Test func everyTruncationAndWhatFollowsItIsRefused() {
    let open = Open(9)
    let bytes = Self.handover(open.numbers).encoded()
    for count in 0..<bytes.count {
      #expect(throws: WireError.self, "\(count) bytes") { try Self.decode(Array(bytes.prefix(count))).get() }
    }
    #expect(throws: WireError.self) { try Self.decode(bytes + [0]).get() }
  }

  @Test func aDescriptorThatIsNotOpenOrNamedTwiceIsRefused() {
    let open = Open(9)
    for (index, wrong) in [(0, 1_000_000), (1, -1), (2, 2), (3, open.numbers[0]), (8, open.numbers[4])] {
      var numbers = open.numbers
      numbers[index] = wrong
      #expect(throws: WireError.self, "\(wrong)") { try Self.decode(Self.handover(numbers).encoded()).get() }
    }
  }

  @Test func anotherFormatIsRefused() {
    let open = Open(9)
    var bytes = Self.handover(open.numbers).encoded()
    bytes[0] &+= 1
    #expect(throws: WireError(.unknownValue, "handover.format")) { try Self.decode(bytes).get() }
  }

  @Test(arguments: [
    (["/usr/sbin/bulkheadd"], "/usr/sbin/bulkheadd"), (["./bulkheadd", "--config", "x"], "./bulkheadd"),
    (["bulkheadd"], "/opt/1.0/bulkheadd"), ([], "/opt/1.0/bulkheadd"),
  ])
  func theProgramIsTheOneThatWasCalled(_ arguments: [String], _ path: String) {
    #expect(Reexecution.program(arguments: arguments, executable: "/opt/1.0/bulkheadd") == path)
  }
}
