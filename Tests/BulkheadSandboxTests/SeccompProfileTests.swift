import BulkheadSupervisor
import Foundation
import Testing

@Suite struct SeccompProfileTests {
  static let shipped = ["worker.json", "worker-load.json", "compiler.json"]

  @Test(arguments: shipped) func aShippedProfileKillsByDefaultAndCompiles(_ name: String) throws {
    let contents = try String(contentsOf: Probe.policies.appendingPathComponent(name), encoding: .utf8)
    let profile = try SeccompProfile.parse(contents: contents, file: name)
    #expect(profile.defaultAction == .killProcess)
    let program = try SeccompCompiler.compile(profile)
    #expect(!program.bytes.isEmpty)
    #expect(program.bytes.count % 8 == 0)
    #expect(program.bytes.count <= 8 * 4_096)
  }

  @Test(arguments: [
    (
      #"{"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscals": []}"#,
      #"test.json: unknown key "syscals"; known are architectures, defaultAction, defaultErrnoRet, flags, "#
        + "listenerMetadata, listenerPath, syscalls"
    ),
    (#"{"syscalls": []}"#, #"test.json: "defaultAction" is missing"#),
    (
      #"{"defaultAction": "SCMP_ACT_DENY"}"#,
      #"test.json: defaultAction: unknown action "SCMP_ACT_DENY"; known are SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, "#
        + "SCMP_ACT_KILL_PROCESS, SCMP_ACT_KILL_THREAD, SCMP_ACT_LOG, SCMP_ACT_TRAP"
    ),
    (
      #"{"defaultAction": "SCMP_ACT_KILL", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]}"#,
      "test.json: syscalls[0].action: SCMP_ACT_NOTIFY is not supported: nobody here listens for it"
    ),
    (
      #"{"defaultAction": "SCMP_ACT_KILL", "flags": ["SECCOMP_FILTER_FLAG_LOG"]}"#,
      "test.json: flags: it is not supported: Bulkhead loads filters without flags and listeners"
    ),
    (
      #"{"defaultAction": "SCMP_ACT_KILL", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "#
        + #""args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#,
      "test.json: syscalls[0].args[0].index: a system call has arguments 0 to 5, not 6"
    ),
    (
      #"{"defaultAction": "SCMP_ACT_KILL", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "#
        + #""args": [{"index": 0, "value": 0, "op": "SCMP_CMP_GEQ"}]}]}"#,
      #"test.json: syscalls[0].args[0].op: unknown comparison "SCMP_CMP_GEQ"; known are SCMP_CMP_NE, SCMP_CMP_LT, "#
        + "SCMP_CMP_LE, SCMP_CMP_EQ, SCMP_CMP_GE, SCMP_CMP_GT, SCMP_CMP_MASKED_EQ"
    ),
    (
      #"{"defaultAction": "SCMP_ACT_KILL", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "#
        + #""args": [{"index": 0, "value": -1, "op": "SCMP_CMP_EQ"}]}]}"#,
      "test.json: syscalls[0].args[0].value: it has to be a whole number from 0 up, and is a number that is no whole "
        + "number from 0 up"
    ),
    (
      #"{"defaultAction": "SCMP_ACT_KILL", "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": ["#
        + #"{"index": 0, "value": 9, "op": "SCMP_CMP_GE"}, {"index": 0, "value": 72, "op": "SCMP_CMP_LE"}]}]}"#,
      "test.json: syscalls[0].args[1]: argument 0 has a condition already: write a rule for each"
    ),
    (
      #"{"defaultAction": "SCMP_ACT_KILL", "syscalls": [{"names": [], "action": "SCMP_ACT_ALLOW"}]}"#,
      "test.json: syscalls[0].names: it names no system call"
    ),
    ("[]", "test.json: it has to be an object, and is a list"),
  ])
  func aWrongProfileIsRefusedByNameAndPlace(_ contents: String, _ message: String) {
    #expect { try SeccompProfile.parse(contents: contents, file: "test.json") } throws: { "\($0)" == message }
  }

  @Test func textThatIsNoJSONIsRefused() {
    #expect { try SeccompProfile.parse(contents: "{\"defaultAction\":\n  oops}", file: "test.json") } throws: {
      "\($0)".hasPrefix("test.json: it is not valid JSON")
    }
  }

  @Test func anUnknownSystemCallIsRefusedByName() throws {
    let profile = try SeccompProfile.parse(
      contents: #"{"defaultAction": "SCMP_ACT_KILL", "syscalls": [{"names": ["raed"], "action": "SCMP_ACT_ALLOW"}]}"#,
      file: "test.json")
    #expect { try SeccompCompiler.compile(profile) } throws: {
      "\($0)" == #"test.json: syscalls[0].names: unknown system call "raed""#
    }
  }

  @Test func aSystemCallOfAnotherArchitectureIsSkippedAndTold() throws {
    // 32-bit x86 and 32-bit ARM have it, nothing that Bulkhead runs on does.
    let profile = try SeccompProfile.parse(
      contents: #"{"defaultAction": "SCMP_ACT_KILL", "syscalls": [{"names": ["read", "mmap2"], "#
        + #""action": "SCMP_ACT_ALLOW"}]}"#, file: "test.json")
    #expect(try SeccompCompiler.compile(profile).skippedNames == ["mmap2"])
  }

  @Test(arguments: [
    (#"["SCMP_ARCH_PDP11"]"#, #"test.json: architectures[0]: unknown architecture "SCMP_ARCH_PDP11""#),
    (#"["SCMP_ARCH_S390X"]"#, "test.json: architectures: this machine's architecture is not among them"),
  ])
  func architecturesAreChecked(_ list: String, _ message: String) throws {
    let profile = try SeccompProfile.parse(
      contents: #"{"defaultAction": "SCMP_ACT_KILL", "architectures": \#(list)}"#, file: "test.json")
    #expect { try SeccompCompiler.compile(profile) } throws: { "\($0)" == message }
  }
}
