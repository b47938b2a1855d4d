import BulkheadSystem
import Glibc
import Testing

@Suite struct SystemErrorTests {
  @Test(arguments: [
    (
      SystemError(operation: "open", subject: "/x", code: EACCES, advice: "give the service user read access"),
      "cannot open /x: permission denied (EACCES): give the service user read access"
    ),
    (SystemError(operation: "make a pipe", code: EIO), "cannot make a pipe: input/output error (EIO)"),
    (
      SystemError(operation: "make a pipe", code: EMFILE),
      "cannot make a pipe: too many open files (EMFILE): raise the limit on open files (LimitNOFILE= of the service)"
    ),
    (
      SystemError(operation: "close descriptors from", subject: "3", code: ENOSYS),
      "cannot close descriptors from 3: function not implemented (ENOSYS): the kernel is too old; Bulkhead needs "
        + "Linux 5.12 or later"
    ),
    (SystemError(operation: "trade", code: EDOTDOT), "cannot trade: RFS specific error (EDOTDOT)"),
    (SystemError(operation: "count", code: 12_345), "cannot count: unknown error 12345"),
  ])
  func anErrorSaysWhatOnWhatWhyAndWhatToDo(_ error: SystemError, _ text: String) { #expect(error.description == text) }

  @Test func everyOperationCanBeMadeToFail() throws {
    #expect {
      try FaultInjection.failing("make a pipe", with: ENFILE) { _ = try Pipe() }
    } throws: {
      "\($0)" == "cannot make a pipe: too many open files in system (ENFILE): "
        + "raise the system's limit on open files (sysctl fs.file-max)"
    }
    // Not for longer, and not on other operations.
    _ = try FaultInjection.failing("make an epoll", with: ENFILE) { try Pipe().takeRead().raw }
    _ = try Pipe()
  }

  @Test func aCallCanGoThroughBeforeOneFails() {
    var made = 0
    #expect(throws: SystemError.self) {
      try FaultInjection.failing("make an eventfd", with: EMFILE, after: 2) {
        for _ in 0..<5 {
          _ = try EventDescriptor()
          made += 1
        }
      }
    }
    #expect(made == 2)
  }

  @Test func aFileThatIsNotThereIsNamed() {
    #expect { try Descriptor.open("/nowhere/at/all", .read).raw } throws: {
      "\($0)" == "cannot open /nowhere/at/all: no such file or directory (ENOENT)"
    }
  }
}
