import Glibc

/// A decoder of bytes from a client, a plugin, a worker or a file, and what has to hold of what it makes of them. What does
/// not hold traps, which the fuzzer takes for a finding, as it takes what AddressSanitizer finds.
struct FuzzTarget: Sendable {
  var name: String
  var run: @Sendable (UnsafeRawBufferPointer) -> Void

  static let all: [FuzzTarget] = [
    // What a fuzzer that works finds within a second: that it does is checked first.
    FuzzTarget(name: "canary") { bytes in
      guard bytes.count > 3, bytes[0] == 0x62, bytes[1] == 0x69, bytes[2] == 0x72, bytes[3] == 0x64 else { return }
      hold(false, "the canary is found")
    },
    FuzzTarget(name: "http1-request", run: HTTPMessages.request),
    FuzzTarget(name: "http1-response", run: HTTPMessages.response),
    FuzzTarget(name: "http1-body", run: HTTPBodies.check),
    FuzzTarget(name: "reply", run: WorkerRecords.reply),
    FuzzTarget(name: "report", run: WorkerRecords.report),
    FuzzTarget(name: "record", run: WorkerRecords.others),
    FuzzTarget(name: "pairs", run: GuestBytes.pairs),
    FuzzTarget(name: "cel", run: GuestBytes.expression),
    FuzzTarget(name: "protobuf", run: GuestBytes.protobuf),
    FuzzTarget(name: "grpc", run: GuestBytes.messages),
    FuzzTarget(name: "configuration", run: ConfigurationText.check),
  ]
}

/// Stops where something does not hold that has to.
func hold(_ condition: Bool, _ what: StaticString) {
  guard !condition else { return }
  what.withUTF8Buffer { _ = write(2, $0.baseAddress, $0.count) }
  _ = write(2, "\n", 1)
  abort()
}

/// libFuzzer's driver: runs until it has found something, or its time is over.
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
  _ count: UnsafeMutablePointer<Int32>, _ arguments: UnsafeMutableRawPointer,
  _ run: @convention(c) (UnsafeRawPointer?, Int) -> Int32
) -> Int32

/// `BULKHEAD_FUZZ` names a target; without it the names of all are printed. Arguments are libFuzzer's.
@main
enum Fuzz {
  private static let target: FuzzTarget? = {
    let name = getenv("BULKHEAD_FUZZ").map { String(cString: $0) } ?? ""
    return FuzzTarget.all.first { $0.name == name }
  }()

  static func main() {
    guard target != nil else {
      for target in FuzzTarget.all { print(target.name) }
      exit(getenv("BULKHEAD_FUZZ") == nil ? 0 : 64)
    }
    var count = CommandLine.argc
    var arguments = CommandLine.unsafeArgv
    exit(runDriver(&count, &arguments, runOneInput))
  }

  fileprivate static func run(_ input: UnsafeRawBufferPointer) { target?.run(input) }
}

/// The name that libFuzzer links to.
@_cdecl("LLVMFuzzerTestOneInput")
public func runOneInput(_ data: UnsafeRawPointer?, _ size: Int) -> Int32 {
  Fuzz.run(UnsafeRawBufferPointer(start: size == 0 ? nil : data, count: size))
  return 0
}
