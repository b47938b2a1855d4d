import BulkheadCore
import BulkheadSystem
import BulkheadWire
import Foundation
import Glibc
import Testing

@testable import BulkheadSupervisor

/// Runs a shell script as a child, with its report pipe as descriptor 3, to its end.
private final class ScriptedChild {
  private(set) var frames: [ReportFrame] = []
  private(set) var broken: [WireError] = []
  private(set) var status: ExitStatus?
  private(set) var log = ""

  typealias ExitStatus = BulkheadSystem.ExitStatus

  init(_ script: String, linesPerSecond: UInt32 = 1_000) throws {
    let path = NSTemporaryDirectory() + "bulkhead-child-\(UUID().uuidString)"
    try Data("#!/bin/sh\n\(script)\n".utf8).write(to: URL(fileURLWithPath: path))
    chmod(path, 0o700)
    defer { unlink(path) }
    let output = NSTemporaryDirectory() + "bulkhead-log-\(UUID().uuidString)"
    let file = try Descriptor.open(output, .createNew(mode: 0o600))
    defer { unlink(output) }
    let writer = LogWriter(format: .text, minimumLevel: .debug, descriptor: file.raw)
    let loop = try EventLoop()
    let child = try retryingWhileBusy {
      try ChildProcess(
        .init(process: "worker", plugin: "geo"), executable: Executable(path: path), name: "script", descriptors: [],
        namespaces: [], unprivilegedID: 65_534, blockingReport: true,
        bounds: .init(frame: Limits.maximumReportFrame, linesPerSecond: linesPerSecond), loop: loop, log: writer)
    }
    #expect(OwnChildren.mayInclude(child.pid), "until its end was collected")
    child.onFrame = { [unowned self] in frames.append($0) }
    child.onBrokenReport = { [unowned self] in broken.append($0) }
    child.onExit = { [unowned self] in status = $0 }
    try loop.run(until: { status != nil })
    writer.flush(atMost: .seconds(10))
    log = try String(contentsOfFile: output, encoding: .utf8)
  }

  var lines: [Substring] { log.split(separator: "\n") }
}

/// A child that another test began meanwhile has the script open for writing, until it executes its own: ETXTBSY.
private func retryingWhileBusy(_ start: () throws -> ChildProcess) throws -> ChildProcess {
  while true {
    do { return try start() } catch let error as SystemError where error.code == ETXTBSY { sched_yield() }
  }
}

/// `printf` arguments that write the frame.
private func printf(_ frame: ReportFrame) -> String {
  "printf '" + frame.encoded().map { "\\" + String($0, radix: 8) }.joined() + "' >&3"
}

@Test(.timeLimit(.minutes(1))) func whatAChildSaysLastIsHeardBeforeItsEndIs() throws {
  let fault = ReportFrame.fault(reason: .trap, detail: "unreachable", backtrace: "0: f")
  let child = try ScriptedChild("\(printf(.ready))\n\(printf(fault))\nexit 70")
  #expect(child.frames == [.ready, fault])
  #expect(child.status == .exited(code: 70))
  #expect(child.broken.isEmpty)
}

@Test(.timeLimit(.minutes(1))) func logFramesAndStandardErrorBecomeLinesOfTheLog() throws {
  let child = try ScriptedChild(
    """
    \(printf(.log(level: .info, request: "abc", message: "one\nstill one")))
    echo 'Fatal error: oops' >&2
    printf 'no end' >&2
    """)
  #expect(child.lines.count == 3)
  #expect(child.log.contains(" info process=worker plugin=geo pid="))
  #expect(child.log.contains(" source=worker request=abc one\\nstill one\n"))
  #expect(child.log.contains(" Fatal error: oops\n"))
  #expect(child.log.contains(" no end\n"))
}

/// The beginning of a line of so many bytes, and `parts` of what follows, each as large as a frame has room for.
private func guestLine(_ total: Int, parts: Int, request: String = "") -> String {
  let part = [UInt8](repeating: 0x78, count: ReportFrame.lineBytes)
  let line = ReportFrame.GuestLine(
    level: .error, callback: CallbackKind.requestHeaders.rawValue, stream: 12, request: request,
    totalBytes: UInt32(total), message: part)
  return ([.guestLog(line)] + Array(repeating: ReportFrame.guestLogMore(part), count: parts)).map(printf)
    .joined(separator: "\n")
}

@Test(.timeLimit(.minutes(1))) func aPluginsLineIsMarkedAndWholeUpToItsBound() throws {
  let whole = ReportFrame.lineBytes * 3
  let child = try ScriptedChild(guestLine(whole, parts: 2, request: "r-1") + "\n" + guestLine(100_000, parts: 17))
  #expect(child.lines.count == 2)
  #expect(
    child.lines.first?.hasSuffix(
      " source=guest request=r-1 callback=proxy_on_request_headers " + String(repeating: "x", count: whole)) == true)
  let cut = String(repeating: "x", count: Limits.maximumLogLine) + " [cut: 34464 of 100000 bytes are missing]"
  #expect(child.lines.last?.hasSuffix(" source=guest stream=12 callback=proxy_on_request_headers " + cut) == true)
}

@Test(.timeLimit(.minutes(1))) func aPluginsLineWhoseRestDoesNotComeSaysHowMuchIsMissing() throws {
  let total = ReportFrame.lineBytes * 3
  let stray = printf(.guestLogMore([0x79]))
  // Another frame, time, and the child's end each end a line whose rest was dropped.
  let child = try ScriptedChild(
    [
      guestLine(total, parts: 1), printf(.tickPeriod(milliseconds: 1)), stray, guestLine(total, parts: 0), "sleep 1",
      guestLine(total, parts: 1),
    ]
    .joined(separator: "\n"))
  #expect(
    child.lines.map { String($0.drop { $0 != "[" }) }
      == [1, 2, 1].map { "[cut: \($0 * ReportFrame.lineBytes) of \(total) bytes are missing]" })
}

@Test(.timeLimit(.minutes(1))) func randomBytesOnTheReportPipeAreReportedOnceAndTheChildIsStillCollected() throws {
  // A length over every bound comes soon enough in random bytes, and at the latest here.
  let child = try ScriptedChild("head -c 20000 /dev/urandom >&3\nprintf '\\377\\377\\377\\377' >&3")
  #expect(child.broken.count == 1)
  #expect(child.status == .exited(code: 0))
}

@Test(.timeLimit(.minutes(1))) func aChildThatTalksTooMuchIsCutAndToldSo() throws {
  let child = try ScriptedChild("i=0; while [ $i -lt 500 ]; do echo line $i >&2; i=$((i+1)); done", linesPerSecond: 10)
  #expect(child.lines.count < 400)
  #expect(child.log.contains("lines dropped: more than 10 a second came"))
}

@Test(.timeLimit(.minutes(1))) func aChildThatASignalEndsIsReportedWithTheSignal() throws {
  for signal in [SIGSEGV, SIGKILL] {
    let status = try ScriptedChild("kill -\(signal) $$").status
    guard case .signaled(signal: signal, _) = status else {
      Issue.record("\(String(describing: status))")
      continue
    }
  }
}

@Test(.timeLimit(.minutes(1))) func aPipeThatCannotBeReadIsSaidAndIsNotTakenForItsEnd() throws {
  let path = NSTemporaryDirectory() + "bulkhead-log-\(UUID().uuidString)"
  let file = try Descriptor.open(path, .createNew(mode: 0o600))
  defer { unlink(path) }
  let writer = LogWriter(format: .text, minimumLevel: .debug, descriptor: file.raw)
  let loop = try EventLoop()
  let null = try Descriptor.open("/dev/null", .readWrite)
  let process = try ProcessSpawner.spawn(
    SpawnRequest(executable: "/bin/cat", arguments: ["cat"], descriptors: [null.raw, null.raw, null.raw]))
  let pid = process.pid
  // The end of a pipe that is written to: its reader is gone, so that epoll reports it, and it cannot be read.
  let report = try BulkheadSystem.Pipe()
  let errors = try BulkheadSystem.Pipe(nonBlockingRead: true)
  let child = try ChildProcess(
    .init(process: "worker", plugin: "geo"),
    adopting: Handover.Child(
      pid: pid, pidfd: dup(process.pidfd.raw), report: dup(report.write.raw), errors: dup(errors.read.raw)),
    bounds: .init(frame: Limits.maximumReportFrame, linesPerSecond: 10), loop: loop, log: writer)
  var status: BulkheadSystem.ExitStatus?
  child.onExit = { status = $0 }
  _ = report.takeRead()
  try loop.run(until: { status != nil })
  writer.flush(atMost: .seconds(10))
  let log = try String(contentsOfFile: path, encoding: .utf8)
  let lines = log.split(separator: "\n").filter {
    $0.contains(" error process=worker plugin=geo pid=\(pid) its report pipe cannot be read")
  }
  #expect(lines.count == 1 && lines.first?.contains("bad file descriptor (EBADF)") == true, "\(log)")
}

@Test func aBinaryThatIsNotThereIsNamed() throws {
  let loop = try EventLoop()
  let writer = LogWriter(format: .text, minimumLevel: .critical)
  let error = #expect(throws: SystemError.self) {
    _ = try ChildProcess(
      .init(process: "worker", plugin: nil), executable: Executable(path: "/nonexistent/worker"), name: "worker",
      descriptors: [],
      namespaces: [], unprivilegedID: 65_534, blockingReport: false, bounds: .init(frame: 4_096, linesPerSecond: 1),
      loop: loop, log: writer)
  }
  #expect(error?.description.contains("/nonexistent/worker") == true)
}
