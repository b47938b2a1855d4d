import BulkheadCore
import BulkheadPolicy
import Glibc

/// Reads a whole configuration from disk.
public enum ConfigurationLoader {
  /// Reads `bulkhead.yaml` at `path`, the policies and the plugin manifests.
  ///
  /// Throws all that is wrong at once; a file that cannot be read does not keep the others from being checked.
  ///
  /// - Parameter files: read in place of those on disk, where the configuration is to be as it was.
  public static func load(
    path: String, files: ConfigurationFiles? = nil
  ) throws(ConfigurationErrors) -> LoadedConfiguration {
    let (loaded, errors) = inspect(path: path, files: files)
    guard errors.isEmpty, let loaded else { throw ConfigurationErrors(errors: errors) }
    return loaded
  }

  /// The same for a check: beside all that is wrong also what could be read, as far as it could.
  public static func inspect(
    path: String, files: ConfigurationFiles? = nil
  ) -> (loaded: LoadedConfiguration?, errors: [ConfigurationError]) {
    let problems = Problems(files: FileReader(earlier: files))
    var loaded = load(path: path, problems)
    loaded?.warnings = problems.warnings
    loaded?.files = problems.files.kept
    return (loaded, problems.errors)
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
    let found = Problems(files: problems.files)
    var documents: [(YAMLValue, Source)] = []
    for source in sources(in: directory, named: field, found) {
      documents += (read(source) ?? []).map { ($0, source) }
    }
    let policies = PolicyResolver.resolve(
      shipped: ShippedPolicies.documents(found), files: documents, upstreams: upstreams)
    for error in found.inOrder { problems.add(error) }
    for warning in found.warnings { problems.warn(warning) }
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
      let documents = read(source)
      if documents?.isEmpty == true { source.warn("it is empty: there is no plugin in it") }
      for document in documents ?? [] {
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
      let listing = try problems.files.listing(of: directory)
      for name in listing.lookalikes {
        Source(file: "\(directory)/\(name)", problems: problems).warn(
          "it is not read: only files whose names end in .yaml or .yml are; rename it, or move it away")
      }
      return listing.files.map { Source(file: "\(directory)/\($0)", problems: problems) }
    } catch {
      if let field {
        field.report("the directory \(directory)", error)
      } else if error.code != ENOENT {
        Source(file: directory, problems: problems).report(error)
      }
      return []
    }
  }

  private static func read(_ source: Source) -> [YAMLValue]? {
    do {
      return YAMLParser(source: source).documents(try source.problems.files.text(source.file))
    } catch {
      source.report(error)
      return nil
    }
  }
}
