import BulkheadControl

extension View {
  /// A line on a plugin's crash budget, where that counts something; nil where it does not.
  static func budget(_ plugin: PluginInfo) -> String? {
    guard let budget = plugin.budget else { return nil }
    let allowed = budget.allowed
    func percent(_ value: Double) -> String { "\(PluginInfo.Budget.percent(value)) %" }
    var parts: [String] = []
    if budget.deaths > 0 {
      parts.append(
        "deaths: \(budget.deaths) of \(count(budget.requests, "request")) (\(percent(budget.deathPercent))), "
          + "\(percent(budget.processorPercent)) of a CPU")
      if let share = allowed.sharePercent, let cpu = allowed.processorPercent {
        parts.append("quarantine beyond \(share) % and \(cpu) %")
      }
    }
    if budget.failedStarts > 0 {
      parts.append("died before they served: \(budget.failedStarts), quarantine beyond \(allowed.failedStarts)")
    }
    if let restarts = budget.restarts, let most = allowed.restarts, restarts > 0 {
      parts.append("restarts: \(restarts), quarantine beyond \(most)")
    }
    if budget.isSpent { parts.append("the budget is spent: bulkheadctl reset \(plugin.name)") }
    guard !parts.isEmpty else { return nil }
    return Table.printable("\(plugin.name), within \(span(budget.intervalSeconds)): \(parts.joined(separator: "; "))")
  }
}
