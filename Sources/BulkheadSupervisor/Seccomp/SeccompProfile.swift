/// A seccomp profile in the format of the OCI runtime specification (config-linux, "Seccomp").
///
/// What the format has and Bulkhead does not do (flags, listeners, notifications) is refused by name, never ignored.
public struct SeccompProfile: Equatable, Sendable {
  /// What happens to a system call.
  public enum Action: Equatable, Sendable {
    /// The call ends the process or the thread (`SCMP_ACT_KILL_PROCESS`, `SCMP_ACT_KILL_THREAD`).
    case killProcess
    case killThread
    /// The call is not made and sends SIGSYS.
    case trap
    /// The call is not made and fails with that errno.
    case errno(UInt16)
    /// The call is made, and the kernel's log has a line of it.
    case log
    /// The call is made.
    case allow
  }

  /// How an argument is compared.
  public enum Comparison: String, Sendable, CaseIterable {
    /// The argument, as an unsigned number, and `value`.
    case notEqual = "SCMP_CMP_NE"
    case less = "SCMP_CMP_LT"
    case lessOrEqual = "SCMP_CMP_LE"
    case equal = "SCMP_CMP_EQ"
    case greaterOrEqual = "SCMP_CMP_GE"
    case greater = "SCMP_CMP_GT"
    /// The argument and `value` is `valueTwo`.
    case maskedEqual = "SCMP_CMP_MASKED_EQ"
  }

  /// A condition on one argument, compared with all its 64 bits.
  public struct Argument: Equatable, Sendable {
    /// Which argument of the system call, from 0.
    public var index: UInt32
    /// What it is compared with.
    public var value: UInt64
    /// The mask of `SCMP_CMP_MASKED_EQ`, whose result is compared with `value`.
    public var valueTwo: UInt64
    /// How.
    public var comparison: Comparison
  }

  /// An action for some system calls, where all conditions hold.
  public struct Rule: Equatable, Sendable {
    /// Where it stands in the file.
    public var place: String
    /// Names of system calls.
    public var names: [String]
    /// What the kernel does with them.
    public var action: Action
    /// All of these have to hold; empty: whatever the arguments are.
    public var arguments: [Argument]
  }

  /// The file that it came from.
  public var file: String
  /// For what no rule speaks of.
  public var defaultAction: Action
  /// Names such as `SCMP_ARCH_X86_64`; empty for this machine's own.
  public var architectures: [String]
  /// The first that fits counts.
  public var rules: [Rule]

  /// Reads a profile.
  ///
  /// - Parameter file: the name that errors give.
  /// - Throws: `SeccompError` where the text is not JSON, has keys or values that are not known, or asks for what
  ///   Bulkhead does not do.
  public static func parse(contents: String, file: String) throws(SeccompError) -> SeccompProfile {
    let root = try JSONPlace(contents: contents, file: file)
    let members = try root.members(known: [
      "defaultAction", "defaultErrnoRet", "architectures", "flags", "listenerPath", "listenerMetadata", "syscalls",
    ])
    for key in ["flags", "listenerPath", "listenerMetadata"] {
      guard let member = members[key], !isEmpty(member.value) else { continue }
      throw member.complaint("it is not supported: Bulkhead loads filters without flags and listeners")
    }
    guard let defaultAction = members["defaultAction"] else { throw root.complaint("\"defaultAction\" is missing") }
    var architectures: [String] = []
    for element in try members["architectures"]?.elements() ?? [] { architectures.append(try element.string()) }
    var rules: [Rule] = []
    for element in try members["syscalls"]?.elements() ?? [] { rules.append(try rule(element)) }
    return SeccompProfile(
      file: file, defaultAction: try action(defaultAction, errno: members["defaultErrnoRet"]),
      architectures: architectures, rules: rules)
  }

  private static func isEmpty(_ value: JSONValue) -> Bool { [.null, .array([]), .string("")].contains(value) }

  private static func rule(_ place: JSONPlace) throws(SeccompError) -> Rule {
    // `comment` is not the specification's; profiles in the field have it, and ours say in it why a call is allowed.
    let members = try place.members(known: ["names", "action", "errnoRet", "args", "comment"])
    guard let names = members["names"] else { throw place.complaint("\"names\" is missing") }
    guard let actionPlace = members["action"] else { throw place.complaint("\"action\" is missing") }
    var rule = Rule(
      place: place.path, names: [], action: try action(actionPlace, errno: members["errnoRet"]), arguments: [])
    for name in try names.elements() { rule.names.append(try name.string()) }
    guard !rule.names.isEmpty else { throw names.complaint("it names no system call") }
    for element in try members["args"]?.elements() ?? [] {
      let argument = try argument(element)
      guard !rule.arguments.contains(where: { $0.index == argument.index }) else {
        throw element.complaint("argument \(argument.index) has a condition already: write a rule for each")
      }
      rule.arguments.append(argument)
    }
    return rule
  }

  private static func argument(_ place: JSONPlace) throws(SeccompError) -> Argument {
    let members = try place.members(known: ["index", "value", "valueTwo", "op"])
    guard let index = members["index"], let value = members["value"], let comparison = members["op"] else {
      throw place.complaint("\"index\", \"value\" and \"op\" are needed")
    }
    let number = try index.unsigned()
    guard number < 6 else { throw index.complaint("a system call has arguments 0 to 5, not \(number)") }
    let name = try comparison.string()
    guard let known = Comparison(rawValue: name) else {
      let names = Comparison.allCases.map(\.rawValue).joined(separator: ", ")
      throw comparison.complaint("unknown comparison \"\(name)\"; known are \(names)")
    }
    return Argument(
      index: UInt32(number), value: try value.unsigned(), valueTwo: try members["valueTwo"]?.unsigned() ?? 0,
      comparison: known)
  }

  private static func action(_ place: JSONPlace, errno: JSONPlace?) throws(SeccompError) -> Action {
    let name = try place.string()
    switch name {
    case "SCMP_ACT_KILL_PROCESS": return .killProcess
    case "SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD": return .killThread
    case "SCMP_ACT_TRAP": return .trap
    case "SCMP_ACT_LOG": return .log
    case "SCMP_ACT_ALLOW": return .allow
    case "SCMP_ACT_ERRNO":
      // EPERM where the profile does not say, as the specification has it.
      let code = try errno?.unsigned() ?? 1
      guard code <= 4_095 else { throw (errno ?? place).complaint("\(code) is no errno; they go up to 4095") }
      return .errno(UInt16(code))
    case "SCMP_ACT_NOTIFY", "SCMP_ACT_TRACE":
      throw place.complaint("\(name) is not supported: nobody here listens for it")
    default:
      throw place.complaint(
        "unknown action \"\(name)\"; known are SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, SCMP_ACT_KILL_PROCESS, "
          + "SCMP_ACT_KILL_THREAD, SCMP_ACT_LOG, SCMP_ACT_TRAP")
    }
  }
}
