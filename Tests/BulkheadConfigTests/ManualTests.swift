import BulkheadCore
import Foundation
import Testing

@testable import BulkheadConfig

/// bulkhead.yaml(5) against what the decoders take.
@Suite struct ManualTests {
  /// The items of each section, and all its words in `.Cm`.
  private static func sections() throws -> [String: (items: Set<String>, words: Set<String>)] {
    let repository = #filePath.components(separatedBy: "/Tests/")[0]
    let manual = try String(contentsOfFile: "\(repository)/man/bulkhead.yaml.5", encoding: .utf8)
    var sections: [String: (items: Set<String>, words: Set<String>)] = [:]
    var title = ""
    for line in manual.split(separator: "\n") {
      let words = line.split(separator: " ").map(String.init)
      if [".Sh", ".Ss"].contains(words.first) { title = words.dropFirst().joined(separator: " ") }
      guard let place = words.firstIndex(where: { [".Cm", "Cm"].contains($0) }), place + 1 < words.count else {
        continue
      }
      sections[title, default: ([], [])].words.insert(words[place + 1])
      if words.first == ".It" { sections[title, default: ([], [])].items.insert(words[place + 1]) }
    }
    return sections
  }

  static let keys: [(section: String, keys: [String])] = [
    ("listeners", ConfigurationDecoder.listenerKeys), ("upstreams", ConfigurationDecoder.upstreamKeys),
    ("Places", ["plugins", "policies", "cache"] + ConfigurationDecoder.controlKeys.map { "control.\($0)" }),
    ("runtime", ["eventLoops"]),
    ("limits", Bounds.table.map(\.name)), ("timeouts", Timeouts.table.map(\.name)),
    ("accessLog", AccessLogDecoder.keys), ("admin", AdminDecoder.keys), ("events", EventsDecoder.keys),
    (
      "MANIFESTS",
      PluginManifestDecoder.known
        + PluginManifestDecoder.specKeys.filter { key in
          key != "imagePullPolicy" && !PluginManifestDecoder.unsupported.contains { $0.key == key }
        }.map { $0 == "vmConfig" ? "vmConfig.env" : $0 }
    ),
  ]

  @Test(arguments: keys) func theManualHasEveryKeyOfASectionAndNoOther(_ section: String, _ keys: [String]) throws {
    #expect(try Self.sections()[section]?.items == Set(keys))
  }

  @Test func everySectionOfTheFileIsOneOfTheManual() throws {
    let places = ["plugins", "policies", "cache", "control"]
    let titles = Set(try Self.sections().keys)
    #expect(Set(ConfigurationDecoder.keys).subtracting(places).subtracting(titles) == [])
  }

  @Test func whatIsNoItemIsNamedInTheText() throws {
    let sections = try Self.sections()
    #expect(Set(UpstreamTLSDecoder.keys).subtracting(sections["upstreams"]?.words ?? []) == [])
    let ofSpec = Set(PluginManifestDecoder.specKeys + ["vmConfig.env", "valueFrom", "UNSPECIFIED_POLICY"])
    #expect(ofSpec.subtracting(sections["MANIFESTS"]?.words ?? []) == ["vmConfig"])
  }
}
