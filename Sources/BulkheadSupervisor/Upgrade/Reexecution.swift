import BulkheadCore
import BulkheadSystem
import BulkheadWire
import FoundationEssentials
import Glibc

/// Puts another program in this one's place: same process id, same children, and of the descriptors those of the
/// handover.
///
/// To be used on the main thread: children get their parent-death signal when the thread that started them ends, and of
/// all threads the main one alone survives.
enum Reexecution {
  /// The environment variable that names the descriptor of the encoded handover.
  static let variable = "BULKHEAD_HANDOVER"

  /// The program that a newly installed version has replaced: as it was called where that was a path, so that a link to a
  /// versioned directory is followed anew, else where this one was found.
  static func program(arguments: [String], executable: String) -> String {
    guard let name = arguments.first, name.contains("/") else { return executable }
    return name
  }

  /// Executes the program with this process's own arguments and environment. Whatever was handed over stays open and as
  /// it was where that fails.
  ///
  /// - Throws: `SystemError`; where it works, it does not return.
  static func execute(_ program: Upgrade.Program, _ handover: Handover) throws(SystemError) -> Never {
    try execute(program.path, program.arguments, keeping: program.inherited, handover)
  }

  /// Executes the program that served last again, with its own arguments.
  ///
  /// - Throws: `SystemError`; where it works, it does not return.
  static func goBack(
    to origin: Origin, _ program: Upgrade.Program, _ handover: Handover
  ) throws(SystemError) -> Never {
    var handover = handover
    handover.origin = origin
    handover.isBack = true
    try execute(origin.program, origin.arguments, keeping: program.inherited, handover)
  }

  private static func execute(
    _ path: String, _ arguments: [String], keeping inherited: [Int32], _ handover: Handover
  ) throws(SystemError) -> Never {
    let message = try Memfd.message(name: "handover", handover.encoded()).takeDescriptor()
    // Libraries leave some of theirs open: none may reach a program that does not know it.
    try RawDescriptor.closeOnExec(from: 3, keeping: inherited + handover.descriptors + [message.raw])
    setenv(variable, "\(message.raw)", 1)
    var pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) } + [nil]
    execv(path, &pointers)
    let code = errno
    for pointer in pointers { free(pointer) }
    unsetenv(variable)
    try RawDescriptor.closeOnExec(from: 3, keeping: inherited)
    throw SystemError(operation: "execute", subject: path, code: code)
  }

  /// The descriptors, beside the standard ones, that whoever started this process gave it and that nobody here knows. They
  /// stay open for as long as the process runs: their end may tell somebody of its.
  static func inheritedDescriptors() -> [Int32] {
    let numbers = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd")) ?? []
    return numbers.compactMap { Int32($0) }.filter { number in
      let flags = fcntl(number, F_GETFD)
      return number > 2 && flags >= 0 && flags & FD_CLOEXEC == 0
    }.sorted()
  }

  /// What the program before this one left; nil where there was none.
  ///
  /// - Throws: `StartError` where it cannot be understood.
  static func takeHandover() throws(StartError) -> Handover? {
    guard let value = getenv(variable) else { return nil }
    let text = String(cString: value)
    unsetenv(variable)
    guard let number = Int32(text), number > 2, fcntl(number, F_GETFD) >= 0 else {
      throw StartError(ExitCode.usage, "\(variable)=\(text): no such descriptor; only bulkheadd itself sets it")
    }
    let message = Descriptor(owning: number)
    var result: Result<Handover, WireError> = .failure(WireError(.truncated, "handover"))
    do throws(SystemError) {
      let bytes = try RawDescriptor.readFile(message.raw, atMost: Handover.maximumBytes)
      bytes.withUnsafeBytes { bytes in
        do throws(WireError) { result = .success(try Handover(bytes)) } catch { result = .failure(error) }
      }
    } catch {
      throw StartError(ExitCode.software, "what the program before left cannot be read: \(error)")
    }
    let handover: Handover
    do throws(WireError) {
      handover = try result.get()
    } catch {
      throw StartError(
        ExitCode.software, "what the program before left cannot be understood: \(error); restart bulkheadd")
    }
    for descriptor in handover.descriptors { _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC) }
    return handover
  }
}
