import BulkheadPolicy

/// What load balancers and orchestrators ask.
extension Supervisor {
  /// Why traffic should not be sent here yet; nil where it may be.
  var whyNotReady: String? {
    noteFirstStarts()
    return Readiness(
      phase: phase, frontServes: front.isServing || upgrader.isPending,
      startingPlugins: firstStartsAreOver ? [] : stillStarting
    ).why
  }

  /// The plugins at their first start, but for those that the host has no room for: they keep the others from nothing.
  private var stillStarting: [String] {
    fleet.plugins.filter { $0.machine.state == .starting && !$0.lacksHost }.map(\.name)
  }

  /// Remembers that every plugin has had its first start: what is started again later makes nobody less ready.
  func noteFirstStarts() {
    if !firstStartsAreOver, phase == .running, stillStarting.isEmpty { firstStartsAreOver = true }
  }
}

/// Whether traffic may be sent, from how things stand.
struct Readiness {
  var phase: Supervisor.Phase
  /// That of before an upgrade counts too.
  var frontServes: Bool
  /// Those that have not had their first start.
  var startingPlugins: [String]

  /// As many names are said.
  private static let maximumNames = 5

  /// Why it may not be; nil where it may.
  var why: String? {
    switch phase {
    case .draining: return "it drains, to stop"
    case .stopping: return "it stops"
    case .starting where !frontServes: return "the front has not started yet"
    case .starting, .running: break
    }
    guard frontServes else { return "the front is being replaced" }
    guard !startingPlugins.isEmpty else { return nil }
    let names = startingPlugins.prefix(Self.maximumNames).joined(separator: ", ")
    let more = startingPlugins.count > Self.maximumNames ? " and \(startingPlugins.count - Self.maximumNames) more" : ""
    return "plugins have their first start yet: \(names)\(more)"
  }
}
