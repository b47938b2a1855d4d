import BulkheadCore
import BulkheadSystem
import CBulkheadSys

/// What the front does to itself before it takes the first byte from a client: it keeps its sockets, its threads and the
/// files that name resolution reads, and nothing else.
public enum FrontSandbox {
  /// Takes the rest away. To be called on the main thread before others start; the bootstrap has been read.
  ///
  /// - Parameters:
  ///   - unprivilegedID: whom to become where the front runs as the host's root.
  ///   - seccomp: `struct sock_filter`s, 8 bytes each; an empty program is refused.
  /// - Returns: each layer with whether it holds. A front must not go on where `seccomp` does not.
  /// - Throws: `SystemError` where the death signal cannot be armed: a front that could outlive its supervisor must not
  ///   run.
  public static func enter(unprivilegedID: UInt32, seccomp: [UInt8]) throws(SystemError) -> [LayerReport] {
    loadNameServices()
    let readable = readablePaths()
    let identity = WorkerSandbox.currentIdentity(unprivileged: unprivilegedID)
    var layers = [SandboxStep.noNewPrivileges()]
    // Its sockets are bound already, and connecting needs no right.
    layers += SandboxStep.credentials(identity)
    layers.append(SandboxStep.limits([.noCore, .noLockedMemory, .noMessageQueues]))
    // A change of ids disarmed it.
    try SandboxStep.deathSignal()
    layers.append(landlock(readable))
    layers.append(SandboxStep.seccomp(seccomp, otherwise: "all else is refused or kills the process"))
    return layers
  }

  /// What name resolution and TLS read, besides what lies in `/etc`.
  private static let readableDirectories = [
    "/etc", "/usr/share", "/usr/lib/ssl", "/usr/local/share/ca-certificates", "/var/lib/ca-certificates",
    "/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager", "/run/connman", "/run/nscd",
    "/sys/devices/system/cpu",
    // libdispatch, on whose threads names are resolved, looks at the states of its threads in /proc/TID/stat, and ends the
    // process where it cannot. Which numbers they will have nobody knows, so it is all of it; what is in other processes the
    // kernel keeps from a process that Landlock restricts, whosever they are.
    "/proc",
  ]

  private static func readablePaths() -> [String] {
    // Directories, so that a file which is replaced is still found: the resolver's own is mostly a link elsewhere.
    var buffer = [CChar](repeating: 0, count: 4_096)
    let count = buffer.withUnsafeMutableBufferPointer { bh_real_path("/etc/resolv.conf", $0.baseAddress, $0.count) }
    guard count > 0 else { return readableDirectories }
    let path = String(decoding: buffer.prefix(Int(count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    guard let slash = path.lastIndex(of: "/"), slash != path.startIndex else { return readableDirectories }
    return readableDirectories + [String(path[..<slash])]
  }

  private static func landlock(_ readable: [String]) -> LayerReport {
    .of(.landlock) { () throws(SystemError) in
      let abi = try SystemCall.make(
        "restrict with Landlock", advice: "the kernel needs CONFIG_SECURITY_LANDLOCK and `landlock` in its lsm= list"
      ) { CStrings.with(readable) { bh_landlock_restrict_client($0, readable.count) } }
      let more =
        switch abi {
        case ..<4: "; this kernel's Landlock knows neither networks nor signals"
        case ..<6: ", binding TCP denied; this kernel's Landlock knows no signals"
        default: ", binding TCP, abstract sockets and signals denied"
        }
      return "ABI \(abi): no file but for reading, of /etc, of /proc and of name resolution\(more)"
    }
  }

  /// Maps the libraries of the host's name services now: once the filter is loaded, no code can be mapped, and the C library
  /// would pass over those that it has not loaded yet.
  private static func loadNameServices() {
    guard let file = try? Descriptor.open("/etc/nsswitch.conf", .read) else { return }
    var bytes = [UInt8](repeating: 0, count: 16_384)
    let count = bytes.withUnsafeMutableBytes { buffer in (try? file.read(into: buffer)) ?? 0 }
    for service in nameServices(of: String(decoding: bytes.prefix(count), as: UTF8.self)) {
      bh_load_library("libnss_\(service).so.2")
    }
  }

  /// The services that a `nsswitch.conf` has for hosts, without the actions in brackets.
  static func nameServices(of text: String) -> [String] {
    for line in text.split(separator: "\n") {
      let words = line.prefix { $0 != "#" }.split { $0 == " " || $0 == "\t" }
      guard words.first == "hosts:" else { continue }
      var isAction = false
      var services: [String] = []
      for word in words.dropFirst() {
        if word.hasPrefix("[") { isAction = true }
        if !isAction, word.utf8.allSatisfy({ isNameByte($0) }) { services.append(String(word)) }
        if word.hasSuffix("]") { isAction = false }
      }
      return services
    }
    return []
  }

  private static func isNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"): true
    default: false
    }
  }
}

/// Strings where C looks for an array of them.
enum CStrings {
  static func with<Result>(_ strings: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>?) -> Result) -> Result {
    let storage = strings.map { Array($0.utf8CString) }
    var pointers: [UnsafePointer<CChar>?] = []
    func next(_ index: Int) -> Result {
      guard index < storage.count else { return pointers.withUnsafeBufferPointer { body($0.baseAddress) } }
      return storage[index].withUnsafeBufferPointer { buffer in
        pointers.append(buffer.baseAddress)
        return next(index + 1)
      }
    }
    return next(0)
  }
}
