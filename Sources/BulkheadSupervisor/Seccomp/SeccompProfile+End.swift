import BulkheadCore

extension SeccompProfile {
  /// What a worker does at its end. Where a profile kills it for that, each of its traps and deadlines would be told as a
  /// breach of the profile.
  private static let end: [(name: String, descriptor: Int32?, why: String)] = [
    ("close", ChildDescriptor.Worker.liveness, "it closes its liveness pipe"),
    ("write", ChildDescriptor.report, "it reports why it ends"), ("exit_group", nil, "it ends"),
  ]

  /// - Throws: `SeccompError` where a worker under it could not end in good order.
  func requireWorkersEnd() throws(SeccompError) {
    for (name, descriptor, why) in Self.end where kills(name, descriptor.map { UInt64(clamping: $0) }) {
      let call = descriptor.map { "\(name) with \($0) as argument 0" } ?? name
      throw SeccompError(
        file: file, place: "syscalls", reason: "allow \(call), as worker.json does: at the end of a worker \(why)")
    }
  }

  /// Whether that call, of which the first argument alone is known, is not surely left alone, or refused by an errno.
  private func kills(_ name: String, _ first: UInt64?) -> Bool {
    let matching = rules.filter { rule in
      rule.names.contains(name) && rule.arguments.allSatisfy { $0.index == 0 && first.map($0.holds) == true }
    }
    let actions = matching.isEmpty ? [defaultAction] : matching.map(\.action)
    return actions.contains { [.killProcess, .killThread, .trap].contains($0) }
  }
}

extension SeccompProfile.Argument {
  /// Whether the condition holds for that value.
  fileprivate func holds(_ argument: UInt64) -> Bool {
    switch comparison {
    case .notEqual: argument != value
    case .less: argument < value
    case .lessOrEqual: argument <= value
    case .equal: argument == value
    case .greaterOrEqual: argument >= value
    case .greater: argument > value
    case .maskedEqual: argument & value == valueTwo
    }
  }
}
