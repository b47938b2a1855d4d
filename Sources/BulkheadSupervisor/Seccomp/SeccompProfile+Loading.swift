extension SeccompProfile {
  /// The profile under which a worker loads its module and takes the last steps of its sandbox: all that this one, under
  /// which the plugin will run, leaves alone, and what `loading` allows beside it.
  ///
  /// Both stand at the end, one over the other, so what this one does not allow is over once the plugin runs.
  func widened(by loading: SeccompProfile) -> SeccompProfile {
    let allowed = Set(loading.rules.flatMap(\.names))
    var wide = self
    wide.file = "\(file) with \(loading.file)"
    wide.rules =
      loading.rules
      + rules.compactMap { rule in
        // One call cannot be both allowed and refused.
        guard rule.action != .allow else { return rule }
        var rest = rule
        rest.names.removeAll { allowed.contains($0) }
        return rest.names.isEmpty ? nil : rest
      }
    return wide
  }
}
