import BulkheadCore
import BulkheadPolicy

/// Brings policies together with those that they extend.
struct PolicyResolver {
  /// The most policies that one is made of.
  static let maximumLineage = 16

  /// One document of a policies' file.
  private struct Definition {
    var name: String
    var section: Section
    /// The policy that holds where this one says nothing.
    var extends: Field?
  }

  /// The names of the configuration's upstreams.
  private let upstreams: [String]
  /// What shipped policies come to. Those of the directory may extend them, and have their names.
  private var shipped: [String: EffectivePolicy] = [:]
  private var definitions: [String: Definition] = [:]
  private var places: [String: SourceLocation] = [:]
  private var order: [String] = []
  private var resolved: [String: EffectivePolicy] = [:]
  /// What is being resolved, the outermost first.
  private var chain: [String] = []

  private init(upstreams: [String]) { self.upstreams = upstreams }

  /// All policies by name, where those of `documents` come before the shipped ones of their names.
  ///
  /// - Parameter upstreams: the names that the configuration's upstreams have.
  static func resolve(
    shipped: [(YAMLValue, Source)], files: [(YAMLValue, Source)], upstreams: [String]
  ) -> [String: EffectivePolicy] {
    var builtIn = PolicyResolver(upstreams: upstreams)
    for (document, source) in shipped { builtIn.define(document, source) }
    var own = PolicyResolver(upstreams: upstreams)
    own.shipped = builtIn.resolveAll()
    for (document, source) in files { own.define(document, source) }
    return own.shipped.merging(own.resolveAll(), uniquingKeysWith: { _, own in own })
  }

  private mutating func define(_ document: YAMLValue, _ source: Source) {
    let field = Field(value: document, path: "", source: source)
    guard let section = field.section(CrashPolicyDecoder.policyKeys) else { return }
    guard let place = section.required("name", "what 'bulkhead/policy' of a manifest says"),
      let name = place.nonEmptyString()
    else {
      // What else is wrong in it is told all the same.
      var decoder = CrashPolicyDecoder(
        .policy(""), onto: EffectivePolicy(policy: CrashPolicy()), upstreams: upstreams)
      decoder.decode(section)
      return
    }
    if let first = places[name] {
      place.report("there is already a policy '\(name)', at \(first)")
    } else {
      places[name] = place.location
      order.append(name)
      definitions[name] = Definition(name: name, section: section, extends: section["extends"])
    }
  }

  private mutating func resolveAll() -> [String: EffectivePolicy] {
    for name in order { resolve(name) }
    return resolved
  }

  /// Resolves one policy and what it extends, the furthest first: each is read once, so that its mistakes are told once.
  private mutating func resolve(_ name: String) {
    chain = []
    var bases: [String: EffectivePolicy] = [:]
    var next: String? = name
    while let current = next, resolved[current] == nil, let definition = definitions[current] {
      chain.append(current)
      next = nil
      guard let field = definition.extends, let base = field.nonEmptyString() else { continue }
      if chain.count >= Self.maximumLineage {
        field.report("a policy is made of at most \(Self.maximumLineage) policies")
      } else if base != current, chain.contains(base) {
        // From the policy that is met again on.
        let circle = chain[(chain.firstIndex(of: base) ?? 0)...] + [base]
        field.report("a policy cannot extend itself: \(circle.joined(separator: " -> "))")
      } else if base != current, definitions[base] != nil {
        next = base
      } else if let policy = shipped[base] {
        bases[current] = policy
      } else if base == current {
        field.report("a policy that extends its own name extends the shipped policy of that name, and there is none")
      } else {
        field.report(
          "there is no policy '\(base)', neither shipped nor in the policies' directory",
          suggestion: NearestName.of(base, among: (Array(shipped.keys) + order).sorted()))
      }
    }
    var below = next.flatMap { resolved[$0] }
    for name in chain.reversed() {
      guard let definition = definitions[name] else { continue }
      var base = below ?? bases[name] ?? EffectivePolicy(policy: CrashPolicy(), lineage: [])
      base.policy.name = name
      base.lineage.insert(name, at: 0)
      if base.lineage.count > Self.maximumLineage {
        definition.extends?.report("a policy is made of at most \(Self.maximumLineage) policies")
        base = EffectivePolicy(policy: CrashPolicy(name: name))
      }
      var decoder = CrashPolicyDecoder(.policy(name), onto: base, upstreams: upstreams)
      decoder.decode(definition.section)
      resolved[name] = decoder.effective
      below = decoder.effective
    }
  }
}
