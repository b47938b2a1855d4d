import BulkheadConfig
import BulkheadCore
import BulkheadSystem
import Dispatch
import Glibc
import Synchronization

/// Looks at endpoints of upstreams that nobody has used before: a host that nobody knows is a fault, one that does not
/// answer now may do so later.
enum EndpointTrial {
  /// The longest that all of it takes; what is not known by then is passed over.
  static let limit = Duration.seconds(3)
  /// The longest that one endpoint may take to accept.
  static let connectMilliseconds: Int32 = 1_000

  /// What was found of one endpoint.
  enum Finding: Equatable, Sendable {
    case answers
    /// Nobody knows its host, and why that is.
    case unknown(String)
    /// It may be there later, and why it is not now.
    case notNow(String)
  }

  /// - Parameter known: endpoints that are not looked at, as `host:port`.
  /// - Returns: faults, with the places of their upstreams; and what is to be warned of.
  static func run(
    _ upstreams: [Configuration.Upstream], known: Set<String>
  ) -> (faults: [StartError.Fault], warnings: [(SourceLocation, String)]) {
    let wanted = upstreams.flatMap { upstream in
      upstream.endpoints.filter { !known.contains($0.description) }.map { (upstream: upstream, endpoint: $0) }
    }
    let findings = look(at: wanted.map(\.endpoint))
    var faults: [StartError.Fault] = []
    var warnings: [(SourceLocation, String)] = []
    for (wanted, finding) in zip(wanted, findings) {
      let what = "upstream '\(wanted.upstream.name)': \(wanted.endpoint)"
      switch finding {
      case .answers: break
      case .unknown(let why):
        faults.append(.init(ExitCode.configuration, wanted.upstream.location, "\(what) cannot be found: \(why)"))
      case .notNow(let why): warnings.append((wanted.upstream.location, "\(what) does not answer now: \(why)"))
      }
    }
    return (faults, warnings)
  }

  /// Looks at all of them at the same time.
  static func look(at endpoints: [NetworkAddress]) -> [Finding] {
    final class Found: Sendable {
      let findings = Mutex<[Int: Finding]>([:])
    }
    let found = Found()
    let group = DispatchGroup()
    let queue = DispatchQueue(label: "bulkhead.endpoints", attributes: .concurrent)
    for (place, endpoint) in endpoints.enumerated() {
      queue.async(group: group) {
        let finding = look(at: endpoint)
        found.findings.withLock { $0[place] = finding }
      }
    }
    // Whatever still looks is left alone: the process ends before long.
    _ = group.wait(timeout: .now() + .seconds(Int(limit.components.seconds)))
    return found.findings.withLock { findings in
      endpoints.indices.map { findings[$0] ?? .notNow("not known within \(limit.text)") }
    }
  }

  private static func look(at endpoint: NetworkAddress) -> Finding {
    do throws(Dialing.Failure) {
      _ = try Dialing.connect(to: endpoint, within: connectMilliseconds)
      return .answers
    } catch {
      switch error {
      case .lookup(let code): return finding(lookup: code)
      case .connection(let error): return .notNow(error.reason)
      }
    }
  }

  /// What the resolver's answer means.
  static func finding(lookup code: Int32) -> Finding {
    let text = gai_strerror(code).map { String(cString: $0) } ?? "error \(code)"
    switch code {
    // EAI_NONAME, EAI_NODATA: somebody says that there is none. All else is somebody's failure to say.
    case -2, -5: return .unknown(text)
    default: return .notNow(text)
    }
  }
}
