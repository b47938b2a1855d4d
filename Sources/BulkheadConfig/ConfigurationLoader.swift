import BulkheadCore
import BulkheadPolicy
import Glibc

/// Reads a whole configuration from disk.
public enum ConfigurationLoader {
  /// Reads `bulkhead.yaml` at `path`, the policies and the plugin manifests.
  ///
  /// Throws all that is wrong at once; a file that cannot be read does not keep the others from being checked.
  public static func load(path: String) throws(ConfigurationErrors) -> LoadedConfiguration {
    let problems = Problems()
    let loaded = load(path: path, problems)
    guard problems.errors.isEmpty, let loaded else { throw ConfigurationErrors(errors: problems.errors) }
    return loaded
  }

  private static func load(path: String, _ problems: Problems) -> LoadedConfiguration? {
    guard !path.isEmpty, !path.utf8.contains(0) else {
      Source(file: path, problems: problems).report(line: nil, "'\(path)' is no path")
      return nil
    }
    let source = Source(file: Path.absolute(path, from: "."), problems: problems)
    guard let documents = read(source) else { return nil }
    guard let document = documents.first, documents.count == 1 else {
      let what = documents.isEmpty ? "is empty: 'listeners' at least are needed" : "holds more than one document"
      let second = documents.dropFirst().first
      source.report(line: second?.line, column: second?.column, what)
      return nil
    }
    guard let result = ConfigurationDecoder(source: source).decode(document) else { return nil }
    let configuration = result.configuration
    let upstreams = configuration.upstreams.map(\.name)
    let policies = policies(
      in: configuration.policiesDirectory, named: result.policies, upstreams: upstreams, problems)
    let plugins = plugins(
      in: configuration.pluginsDirectory, named: result.plugins, policies: policies, upstreams: upstreams, problems)
    return LoadedConfiguration(
      configuration: configuration, plugins: plugins.manifests, policies: policies, overridden: plugins.overridden)
  }

  private static func policies(
    in directory: String, named field: Field?, upstreams: [String], _ problems: Problems
  ) -> [String: EffectivePolicy] {
    // A policy is read after those that it extends: what is wrong is brought into the order of files and lines.
    let found = Problems()
    var documents: [(YAMLValue, Source)] = []
    for source in sources(in: directory, named: field, found) {
      documents += (read(source) ?? []).map { ($0, source) }
    }
    let policies = PolicyResolver.resolve(
      shipped: ShippedPolicies.documents(found), files: documents, upstreams: upstreams)
    for error in found.inOrder { problems.add(error) }
    return policies
  }

  private static func plugins(
    in directory: String, named field: Field?, policies: [String: EffectivePolicy], upstreams: [String],
    _ problems: Problems
  ) -> (manifests: [PluginManifest], overridden: [String: EffectivePolicy]) {
    var plugins: [PluginManifest] = []
    var overridden: [String: EffectivePolicy] = [:]
    var seen: [String: SourceLocation] = [:]
    for source in sources(in: directory, named: field, problems) {
      for document in read(source) ?? [] {
        guard let result = PluginManifestDecoder(source: source).decode(document) else { continue }
        var manifest = result.manifest
        if let first = seen[manifest.name] {
          source.report(
            line: manifest.location.line, column: manifest.location.column, key: "metadata.name",
            "there is already a plugin '\(manifest.name)', at \(first)")
        } else {
          seen[manifest.name] = manifest.location
        }
        if let policy = result.policy, policies[manifest.policy] == nil {
          policy.report(
            "there is no policy '\(manifest.policy)', neither shipped nor in the policies' directory",
            suggestion: NearestName.of(manifest.policy, among: policies.keys.sorted()))
        }
        if plugins.count == Limits.maximumPlugins {
          source.report(line: document.line, "more than \(Limits.maximumPlugins) plugins")
          return (plugins, overridden)
        }
        let named = policies[manifest.policy] ?? EffectivePolicy(policy: CrashPolicy(name: manifest.policy))
        let effective = named.overridden(by: &manifest, result, upstreams: upstreams)
        if effective != named { overridden[manifest.name] = effective }
        plugins.append(manifest)
      }
    }
    return (plugins.sorted(by: PluginManifest.inChainOrder), overridden)
  }

  /// The YAML files of a directory. One that the configuration does not name need not be there.
  private static func sources(in directory: String, named field: Field?, _ problems: Problems) -> [Source] {
    // What is wrong with a path that could not be read has been said.
    guard !directory.isEmpty else { return [] }
    do {
      return try FileAccess.yamlFiles(in: directory).map { Source(file: "\(directory)/\($0)", problems: problems) }
    } catch {
      if let field {
        field.report("the directory \(directory) \(error.message)")
      } else if error.code != ENOENT {
        Source(file: directory, problems: problems).report(line: nil, error.message)
      }
      return []
    }
  }

  private static func read(_ source: Source) -> [YAMLValue]? {
    do {
      return YAMLParser(source: source).documents(try FileAccess.text(source.file))
    } catch {
      source.report(line: nil, error.message)
      return nil
    }
  }
}
