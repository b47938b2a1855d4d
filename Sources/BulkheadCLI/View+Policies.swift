import BulkheadControl

extension View {
  func show(_ response: PoliciesResponse) throws(ControlFailure) -> String {
    if format == .json { return try json(response) }
    var table = Table(columns: [("POLICY", .left), ("EXTENDS", .left), ("PLUGINS", .left)])
    table.rows = response.policies.map { policy in
      [
        .init(policy.name), .init(policy.extends ?? "-"),
        .init(users(policy.plugins)),
      ]
    }
    return table.rendered(coloured: coloured)
  }

  /// Names with commas between them; on a screen so many as fit, and how many more there are.
  private func users(_ names: [String]) -> String {
    guard !names.isEmpty else { return "-" }
    guard isCut else { return names.joined(separator: ",") }
    var shown = names[0]
    for (index, name) in names.enumerated().dropFirst() {
      guard shown.count + name.count < Self.longestUsers else { return "\(shown) and \(names.count - index) more" }
      shown += ",\(name)"
    }
    return shown
  }

  /// In characters.
  private static var longestUsers: Int { 40 }

  /// - Parameter effective: all values, and where they come from; else what the policy, or the manifest, itself says.
  func show(_ response: PolicyResponse, effective: Bool) throws(ControlFailure) -> String {
    if effective, format == .json { return try json(response) }
    var title = response.plugin.map { "plugin \($0), policy \(response.name)" } ?? "policy \(response.name)"
    if response.lineage.count > 1 {
      title += ", which extends " + response.lineage.dropFirst().joined(separator: ", which extends ")
    }
    if effective {
      var table = Table(columns: [("KEY", .left), ("VALUE", .left), ("FROM", .left)])
      table.rows = response.settings.map { [.init($0.key), .init($0.effective ?? $0.value), .init(Self.origin($0))] }
      return "\(Table.printable(title))\n\n\(table.rendered(coloured: coloured))"
    }
    var own = response
    own.settings = response.settings.filter { setting in
      response.plugin == nil
        ? setting.source == .policy && setting.policy == response.name : setting.source == .manifest
    }
    if format == .json { return try json(own) }
    guard !own.settings.isEmpty else {
      let what = response.plugin == nil ? "it says nothing itself" : "its manifest says nothing of it"
      return Table.printable("\(title): \(what)")
    }
    var table = Table(columns: [("KEY", .left), ("VALUE", .left)])
    table.rows = own.settings.map { [.init($0.key), .init($0.value)] }
    return "\(Table.printable(title))\n\n\(table.rendered(coloured: coloured))"
  }

  private static func origin(_ setting: PolicyResponse.Setting) -> String {
    let place = setting.location.map { ", \($0)" } ?? ""
    switch setting.source {
    case .builtIn: return "built-in"
    case .policy: return "policy \(setting.policy ?? "?")\(place)"
    case .manifest: return "manifest\(place)"
    }
  }
}
