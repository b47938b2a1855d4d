import BulkheadCore
import BulkheadSandbox
import BulkheadSystem
import CBulkheadSys
import Glibc

/// What the probe's modes share: its descriptors are a worker's, and 3 takes lines of text instead of frames.
enum Probe {
  static let report: Int32 = 3
  static let program: Int32 = 4
  static let module: Int32 = 5
  static let doorbell: Int32 = 9
  /// A directory of the host, opened before the sandbox: the way around an empty root that Landlock has to close.
  static let directory: Int32 = 10
  static let kept: [Int32] = [2, 3, 6, 7, 8, 9]

  static func say(_ line: String) {
    var text = line + "\n"
    text.withUTF8 { _ = bh_write(report, $0.baseAddress, $0.count) }
  }

  static func fail(_ reason: String) -> Never {
    say("failed \(reason)")
    _exit(70)
  }

  static func enter() -> WorkerSandbox {
    do {
      return try WorkerSandbox.enter(.init(guestMemory: 64 << 20))
    } catch {
      fail("\(error)")
    }
  }

  static func seccompProgram() -> [UInt8] {
    do {
      return try RawDescriptor.readFile(program, atMost: 1 << 16)
    } catch {
      fail("\(error)")
    }
  }

  /// The open descriptors among the first thousand.
  static func openDescriptors() -> [Int32] { (0..<1_000).filter { bh_poll($0, 0, 0) & 0x20 == 0 } }
}
