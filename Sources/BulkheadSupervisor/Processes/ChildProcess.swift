import BulkheadControl
import BulkheadCore
import BulkheadSystem
import BulkheadWire

/// A child with its report pipe and its standard error: reads both in bounds, passes its log on, and tells of its end.
///
/// It belongs to the loop's thread. What it tells, it posts: whoever is told may do anything, such as letting go of it.
/// Whatever the child writes, it costs the supervisor bounded memory and a bounded share of its time.
final class ChildProcess {
  /// Who it is, in the log.
  struct Identity {
    /// `front`, `worker` or `compiler`.
    var process: String
    var plugin: String?
  }

  /// How much it may say.
  struct Bounds {
    /// The largest frame on its report pipe, in bytes.
    var frame: Int
    /// What its report pipe holds where that is more than usual: bytes.
    var reportPipe: Int?
    /// Lines of log a second; twice as many may come at once.
    var linesPerSecond: UInt32
    /// Lines beyond those, in all its life, after which it counts as one that floods; nil: never.
    var linesBeyond: UInt64?
    /// Bytes on its standard error, in all its life, after which it counts as one that floods; nil: never.
    var errorBytes: Int?
  }

  /// The most bytes taken from one pipe at a time.
  private static let chunk = 64 << 10
  /// Bytes a second over both pipes, and at once; who writes more is read again when its time has come.
  private static let bytesPerSecond: UInt32 = 1 << 20
  private static let byteBurst: UInt32 = 1 << 20
  /// What is read at most of a pipe whose writer is gone: more than a pipe holds.
  private static let lastBytes = 2 << 20
  /// The rest of a plugin's line that has not come by then was dropped: the worker never waits for room.
  private static let guestLineTime = Duration.milliseconds(300)
  private static let reportName = "report pipe"
  private static let errorsName = "standard error"

  let pid: Int32
  /// What the supervisor knows of its sandbox, having made it.
  let layers: [LayerReport]
  private let identity: Identity
  private let process: SpawnedProcess
  private let report: Descriptor
  private let errors: Descriptor
  private let loop: EventLoop
  private let log: LogWriter
  private var assembler: FrameAssembler
  private var lines = LineAssembler()
  private var guestLines = GuestLineAssembler()
  private var guestLineTimer: TimerQueue.Token?
  private var lineLimiter: LineLimiter
  private var byteLimiter = LineLimiter(perSecond: bytesPerSecond, burst: byteBurst)
  private var reportWatch: Poller.Token?
  private var errorWatch: Poller.Token?
  private var exitWatch: Poller.Token?
  private var resumeTimer: TimerQueue.Token?
  private var droppedTimer: TimerQueue.Token?
  private var isReportBroken = false
  /// The pipes that could not be read.
  private var unreadable: Set<String> = []
  private let floodBounds: Bounds
  private var linesBeyond: UInt64 = 0
  private var errorBytes = 0
  private var isFlooding = false

  /// Takes each frame that is not about its log.
  var onFrame: (ReportFrame) -> Void = { _ in }
  /// Called once where its report pipe carries what is no frame; nothing is read from it any more.
  var onBrokenReport: (WireError) -> Void = { _ in }
  /// Takes each line that it writes to its standard error, before bounds and log.
  var onErrorLine: (String) -> Void = { _ in }
  /// Takes each line that its plugin writes, before bounds and log.
  var onGuestLine: (LogLevel, String) -> Void = { _, _ in }
  /// Told how many lines of its log were dropped, here or by itself: those it says itself are its word.
  var onDropped: (UInt64) -> Void = { _ in }
  /// Whether a line of its log is passed on, by its level and whether it came over standard error; asked for those within
  /// its bound.
  var passesOn: (LogLevel, Bool) -> Bool = { _, _ in true }
  /// Called once where it says more than any honest child does; for people.
  var onFlood: (String) -> Void = { _ in }
  /// Called once, when it is gone and collected, and all that it had written was taken. Nothing is called after it.
  var onExit: (ExitStatus) -> Void = { _ in }

  /// Starts the process. `descriptors` become the child's from number 4 on; 0 and 1 are `/dev/null`, 2 and 3 its pipes.
  ///
  /// - Parameters:
  ///   - blockingReport: whether the child waits where its report pipe is full.
  ///   - confine: adds to the request what only some children get.
  /// - Throws: `SystemError` with the step that failed.
  convenience init(
    _ identity: Identity, executable: Executable, name: String, arguments: [String] = [], descriptors: [Int32],
    namespaces: NamespaceSet, unprivilegedID: UInt32, blockingReport: Bool, bounds: Bounds, loop: EventLoop,
    log: LogWriter, confine: (inout SpawnRequest) -> Void = { _ in }
  ) throws(SystemError) {
    let null = try Descriptor.open("/dev/null", .readWrite)
    let report = try Pipe(nonBlockingRead: true, nonBlockingWrite: !blockingReport)
    if let size = bounds.reportPipe { report.grow(to: size) }
    let errors = try Pipe(nonBlockingRead: true)
    var request = SpawnRequest(
      executable: executable.path, arguments: [name] + arguments,
      descriptors: [null.raw, null.raw, errors.write.raw, report.write.raw] + descriptors, namespaces: namespaces)
    request.image = executable.image
    request.unprivilegedID = unprivilegedID
    confine(&request)
    try self.init(
      identity, process: try ProcessSpawner.spawn(request), report: report.takeRead(), errors: errors.takeRead(),
      bounds: bounds, loop: loop, log: log)
  }

  /// Takes over a child of the program that this process executed before. The descriptors are its own from now on.
  ///
  /// - Throws: `SystemError` where its end cannot be watched; it is killed then.
  convenience init(
    _ identity: Identity, adopting child: Handover.Child, bounds: Bounds, loop: EventLoop, log: LogWriter
  ) throws(SystemError) {
    try self.init(
      identity, process: SpawnedProcess(adopting: child.pid, pidfd: Descriptor(owning: child.pidfd)),
      report: Descriptor(owning: child.report), errors: Descriptor(owning: child.errors), bounds: bounds, loop: loop,
      log: log)
    child.reportRest.withUnsafeBytes { assembler.append($0) }
    lines.append(child.errorRest) { _ in }
  }

  /// What another program in this one's place needs to take the child over. The descriptors stay this one's.
  var handover: Handover.Child {
    Handover.Child(
      pid: pid, pidfd: process.pidfd.raw, report: report.raw, errors: errors.raw, reportRest: assembler.rest,
      errorRest: lines.rest)
  }

  private init(
    _ identity: Identity, process: consuming SpawnedProcess, report: consuming Descriptor,
    errors: consuming Descriptor, bounds: Bounds, loop: EventLoop, log: LogWriter
  ) throws(SystemError) {
    self.process = process
    pid = self.process.pid
    layers = self.process.layers
    self.report = report
    self.errors = errors
    self.identity = identity
    self.loop = loop
    self.log = log
    floodBounds = bounds
    assembler = FrameAssembler(limit: bounds.frame)
    lineLimiter = LineLimiter(
      perSecond: bounds.linesPerSecond, burst: bounds.linesPerSecond.multipliedReportingOverflow(by: 2).partialValue)
    OwnChildren.add(pid)
    watchPipes()
    do throws(SystemError) {
      exitWatch = try loop.poller.add(self.process.pidfd.raw) { [weak self] _ in self?.collect() }
    } catch {
      // A child whose end would go unseen must not live.
      try? self.process.send(signal: 9)
      _ = try? self.process.wait()
      OwnChildren.remove(pid)
      unwatchPipes()
      throw error
    }
  }

  /// Sends it a signal; one that has ended gets none.
  func send(signal: Int32) { try? process.send(signal: signal) }

  /// Sends it a signal with a value for its handler.
  func send(signal: Int32, value: UInt32) { try? process.send(signal: signal, value: value) }

  /// Writes a line about the child to the log; for what the supervisor says of it.
  func note(_ level: LogLevel, _ message: String) { log.write(line(level, message)) }

  /// A line about the child.
  func line(_ level: LogLevel, _ message: String) -> LogLine {
    LogLine(at: .now, level: level, process: identity.process, plugin: identity.plugin, pid: pid, message: message)
  }

  // MARK: reading

  private func watchPipes() {
    let failed = { [weak self] (error: SystemError) in
      self?.note(.error, "its reports cannot be read: \(error)")
      return
    }
    if reportWatch == nil, !isReportBroken {
      do throws(SystemError) {
        reportWatch = try loop.poller.add(report.raw) { [weak self] _ in self?.readReport() }
      } catch { failed(error) }
    }
    if errorWatch == nil {
      do throws(SystemError) {
        errorWatch = try loop.poller.add(errors.raw) { [weak self] _ in self?.readErrors() }
      } catch { failed(error) }
    }
  }

  private func unwatch(_ token: inout Poller.Token?) {
    if let watched = token { loop.poller.remove(watched) }
    token = nil
  }

  private func unwatchPipes() {
    unwatch(&reportWatch)
    unwatch(&errorWatch)
  }

  /// Has somebody told, when whoever calls this has returned.
  private func tell(_ body: @escaping (ChildProcess) -> Void) { loop.post { [self] in body(self) } }

  /// Reads once: how many bytes came, 0 where no more come, nil where there is nothing now.
  ///
  /// - Parameter name: of the pipe, for people.
  private func readChunk(
    _ pipe: borrowing Descriptor, _ name: String, _ body: (UnsafeRawBufferPointer) -> Void
  ) -> Int? {
    withUnsafeTemporaryAllocation(byteCount: Self.chunk, alignment: 16) { buffer in
      do throws(SystemError) {
        guard let count = try pipe.read(into: buffer) else { return nil }
        body(UnsafeRawBufferPointer(rebasing: buffer.prefix(count)))
        return count
      } catch {
        if unreadable.insert(name).inserted {
          note(.error, "its \(name) cannot be read, so nothing that it says there is heard any more: \(error)")
        }
        return 0
      }
    }
  }

  private func readReport() {
    guard let count = readChunk(report, Self.reportName, { takeReport($0) }) else { return }
    if count == 0 { unwatch(&reportWatch) } else { charge(count) }
  }

  private func readErrors() {
    let taken = readChunk(errors, Self.errorsName) { bytes in lines.append(bytes) { takeErrorLine($0) } }
    guard let count = taken else { return }
    errorBytes &+= count
    if let most = floodBounds.errorBytes, errorBytes > most {
      floods("its standard error carried more than \(most >> 10) KiB")
    }
    if count == 0 { unwatch(&errorWatch) } else { charge(count) }
  }

  private func floods(_ what: String) {
    guard !isFlooding else { return }
    isFlooding = true
    tell { $0.onFlood(what) }
  }

  /// Leaves the pipes alone for a while where too much comes.
  private func charge(_ count: Int) {
    guard byteLimiter.charge(count, at: loop.now), resumeTimer == nil else { return }
    unwatchPipes()
    resumeTimer = loop.after(.milliseconds(100)) { [weak self] in
      self?.resumeTimer = nil
      self?.watchPipes()
    }
  }

  private func takeReport(_ bytes: UnsafeRawBufferPointer) {
    guard !isReportBroken else { return }
    assembler.append(bytes)
    do throws(WireError) {
      while !isReportBroken, let frame = try assembler.next() { take(frame) }
    } catch {
      isReportBroken = true
      unwatch(&reportWatch)
      tell { $0.onBrokenReport(error) }
    }
  }

  private func take(_ frame: ReportFrame) {
    if case .guestLogMore(let bytes) = frame {
      // What no line waits for counts as one: an honest worker sends it in the middle of an upgrade at most.
      if !guestLines.isWaiting {
        _ = admits()
        return
      }
      if let whole = guestLines.add(bytes) { takeGuestLine(whole) }
      return
    }
    takeCutLine()
    switch frame {
    case .log(let level, let request, let message):
      var line = ownWords(level, message)
      line.request = request.isEmpty ? nil : request
      takeLine(line)
    case .guestLog(let line): if let whole = guestLines.begin(line) { takeGuestLine(whole) } else { awaitRest() }
    case .dropped(let lines):
      tell { $0.onDropped(lines) }
      takeLine(ownWords(.warn, "\(lines) lines of log were dropped by the process itself"))
    default: tell { $0.onFrame(frame) }
    }
  }

  private func awaitRest() {
    loop.cancel(&guestLineTimer)
    guestLineTimer = loop.after(Self.guestLineTime) { [weak self] in
      self?.guestLineTimer = nil
      self?.takeCutLine()
    }
  }

  /// The rest of a plugin's line does not come any more.
  private func takeCutLine() {
    if let cut = guestLines.flush() { takeGuestLine(cut) }
  }

  private func takeGuestLine(_ whole: ReportFrame.GuestLine) {
    var line = line(whole.level, GuestLineAssembler.text(whole))
    let (level, message) = (line.level, line.message)
    tell { $0.onGuestLine(level, message) }
    line.source = .guest
    if whole.callback != CallbackKind.none.rawValue { line.callback = CallbackKind.name(of: whole.callback) }
    if !whole.request.isEmpty {
      line.request = whole.request
    } else if whole.stream != CallbackRecord.noStream {
      line.stream = whole.stream
    }
    takeLine(line)
  }

  /// A line that the process says itself. A worker may be in the hands of its plugin.
  private func ownWords(_ level: LogLevel, _ message: String) -> LogLine {
    var line = line(level, message)
    if identity.process == "worker" { line.source = .worker }
    return line
  }

  private func takeErrorLine(_ text: String) {
    tell { $0.onErrorLine(text) }
    takeLine(ownWords(.warn, text), isStandardError: true)
  }

  private func takeLine(_ line: LogLine, isStandardError: Bool = false) {
    guard admits() else { return }
    if log.takes(line.level, plugin: line.plugin), passesOn(line.level, isStandardError) { log.write(line) }
  }

  /// Whether one more line is within its bound. Those that nobody sees count too: an honest child does not send them.
  private func admits() -> Bool {
    if lineLimiter.take(at: loop.now) { return true }
    linesBeyond &+= 1
    if let most = floodBounds.linesBeyond, linesBeyond > most {
      floods("it wrote \(most) lines of log more than its bound")
    }
    if droppedTimer == nil {
      droppedTimer = loop.after(.seconds(1)) { [weak self] in
        self?.droppedTimer = nil
        self?.sayDropped()
      }
    }
    return false
  }

  private func sayDropped() {
    let dropped = lineLimiter.takeDropped()
    guard dropped > 0 else { return }
    tell { $0.onDropped(dropped) }
    note(.warn, "\(dropped) lines dropped: more than \(Int(lineLimiter.rate)) a second came")
  }

  // MARK: the end

  private func collect() {
    let ended: ExitStatus?
    do throws(SystemError) {
      ended = try process.poll()
    } catch {
      note(.error, "\(error)")
      ended = .exited(code: ExitCode.software)
    }
    guard let status = ended else { return }
    OwnChildren.remove(pid)
    unwatch(&exitWatch)
    unwatchPipes()
    loop.cancel(&resumeTimer)
    loop.cancel(&droppedTimer)
    // Its last words, such as why it ends, may still be in the pipes.
    drain(report, Self.reportName) { takeReport($0) }
    loop.cancel(&guestLineTimer)
    takeCutLine()
    drain(errors, Self.errorsName) { bytes in lines.append(bytes) { takeErrorLine($0) } }
    lines.flush { takeErrorLine($0) }
    sayDropped()
    loop.cancel(&droppedTimer)
    tell {
      $0.onExit(status)
      $0.forgetWhoIsTold()
    }
  }

  /// Whoever is told may hold this object, as this one holds it.
  private func forgetWhoIsTold() {
    onFrame = { _ in }
    onBrokenReport = { _ in }
    onErrorLine = { _ in }
    onGuestLine = { _, _ in }
    onDropped = { _ in }
    passesOn = { _, _ in true }
    onFlood = { _ in }
    onExit = { _ in }
  }

  private func drain(_ pipe: borrowing Descriptor, _ name: String, _ body: (UnsafeRawBufferPointer) -> Void) {
    var left = Self.lastBytes
    while left > 0, let count = readChunk(pipe, name, body), count > 0 { left -= count }
  }
}
