import BulkheadControl
import BulkheadCore
import Foundation
import Testing

/// A whole `bulkheadd` with less than root's rights: it serves all the same, and says layer by layer what is missing.
@Suite struct PrivilegeTests {
  private static let nobody = "65534"

  /// Starts `bulkheadd` by a script of these lines, in which `$bulkheadd` is the program, as an unprivileged user of whom
  /// its directory is; where the tests are run by one, as that one.
  private static func instance(_ lines: String) throws -> (bulkhead: Bulkhead, script: URL) {
    let script = FileManager.default.temporaryDirectory.appending(path: "bulkhead-start-\(UUID().uuidString.prefix(8))")
    let become = "setpriv --reuid \(nobody) --regid \(nobody) --clear-groups"
    try """
    #!/bin/sh
    bulkheadd='\(Build.binary("bulkheadd"))'
    user=''
    if [ "$(id -u)" = 0 ]; then
      chown -R \(nobody):\(nobody) "$(dirname "$2")"
      user='\(become)'
      $user test -x "$bulkheadd" || { echo "user \(nobody) cannot reach $bulkheadd" >&2; exit 1; }
    fi
    \(lines)
    """.write(to: script, atomically: true, encoding: .utf8)
    try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: script.path)
    let bulkhead = try Bulkhead(
      plugins: [TestPlugin(name: "stamp", module: "header", policy: "roomy")], executable: script.path,
      files: ["policies/roomy.yaml": "name: roomy\ncallbackDeadline: 10s\n"])
    return (bulkhead, script)
  }

  /// It serves through the plugin; of the layers of its worker these are missing, and each that is says why.
  private func check(_ bulkhead: Bulkhead, missing: Set<IsolationLayer>) throws -> [WorkerInfo.Isolation] {
    let answer = try bulkhead.get()
    #expect(answer.status == 200 && answer.header("x-bench-response") != nil, "\(answer)")
    let status = try String(contentsOfFile: "/proc/\(bulkhead.pid)/status", encoding: .utf8)
    #expect(!status.contains("\nUid:\t0\t"), "\(status)")
    #expect(status.contains("\nCapEff:\t0000000000000000\n"), "\(status)")
    // As `bulkheadctl workers -o json` shows it.
    let reports = try #require(try bulkhead.worker(of: "stamp")).isolation
    for layer in IsolationLayer.allCases {
      let report = reports.first { $0.layer == layer }
      #expect(report?.why.isEmpty == false, "\(layer.rawValue): \(String(describing: report))")
      // Whose control groups these are is the machine's to say.
      if layer == .cgroup { continue }
      #expect(report?.holds == !missing.contains(layer), "\(layer.rawValue): \(report?.why ?? "not reported")")
    }
    let line = bulkhead.logText.split(separator: "\n").first {
      $0.contains("layers of its sandbox that are missing here")
    }
    for layer in missing { #expect(line?.contains("\(layer.rawValue) (") == true, "\(bulkhead.logText)") }
    return reports
  }

  @Test func anUnprivilegedSupervisorServesWithEveryLayerThatNeedsNoRight() throws {
    let (bulkhead, script) = try Self.instance("exec $user \"$bulkheadd\" \"$@\"")
    defer { try? FileManager.default.removeItem(at: script) }
    _ = try check(bulkhead, missing: [.uid])
  }

  @Test func whereUserNamespacesAreForbiddenItServesAndSaysWhatIsMissingAndWhy() throws {
    // In a namespace of users in which no further one may be made; the rights in it are given up with `setpriv`.
    let (bulkhead, script) = try Self.instance(
      """
      exec $user unshare --user --map-current-user --keep-caps /bin/sh -c '
        echo 0 >/proc/sys/user/max_user_namespaces && exec setpriv --ambient-caps -all --inh-caps -all "$@"
      ' sh "$bulkheadd" "$@"
      """)
    defer { try? FileManager.default.removeItem(at: script) }
    let reports = try check(
      bulkhead,
      missing: [
        .userNamespace, .mountNamespace, .pidNamespace, .networkNamespace, .ipcNamespace, .utsNamespace, .emptyRoot,
        .noUserNamespaces, .uid,
      ])
    let user = reports.first { $0.layer == .userNamespace }
    #expect(user?.why.contains("sysctl user.max_user_namespaces") == true, "\(String(describing: user))")
    let root = reports.first { $0.layer == .emptyRoot }
    #expect(root?.why.contains("a user namespace would give it") == true, "\(String(describing: root))")
  }
}
