import BulkheadConfig
import Foundation
import Testing

/// What `spec.pluginConfig` becomes.
@Suite struct PluginConfigurationTests {
  static func json(_ yaml: String) throws -> String {
    let tree = try Tree(["plugins.d/geo.yaml": Tree.manifest("geo", "  pluginConfig: {v: \(yaml)}")])
    let bytes = try #require(try tree.load().plugins.first).pluginConfiguration
    #expect((try? JSONSerialization.jsonObject(with: Data(bytes))) != nil)
    return String(String(decoding: bytes, as: UTF8.self).dropFirst(5).dropLast())
  }

  static let values: [(String, String)] = [
    ("1", "1"), ("-1", "-1"), ("+1", "1"), ("0", "0"), ("0x1F", "31"), ("-0o17", "-15"), ("1.5", "1.5"),
    (".5", "0.5"), ("-.5", "-0.5"), ("+.5", "0.5"), ("5.", "5.0"), ("1e3", "1000.0"), ("1.e3", "1000.0"),
    ("1E-7", "1e-07"), ("123456789012345678901234567890", "123456789012345678901234567890"),
    ("true", "true"), ("False", "false"), ("null", "null"), ("~", "null"), ("", "null"),
    ("text", "\"text\""), ("'1'", "\"1\""), ("\"true\"", "\"true\""), ("'yes'", "\"yes\""), ("!!str 1", "\"1\""),
    ("! 1", "\"1\""), ("!!int '1'", "1"), ("1.2.3", "\"1.2.3\""), ("1_000", "\"1_000\""), ("0x", "\"0x\""),
    ("-", "\"-\""), ("2026-01-31", "\"2026-01-31\""), ("1e", "\"1e\""), ("infinity", "\"infinity\""),
    ("\"a\\\"b\\\\c\\n\\t\\r\\u0001\"", "\"a\\\"b\\\\c\\n\\t\\r\\u0001\""), ("ä€😀", "\"ä€😀\""), ("a/b", "\"a/b\""),
    ("[]", "[]"), ("{}", "{}"), ("[1, [a, {}]]", "[1,[\"a\",{}]]"),
    ("{b: 1, a: 2, B: 3, 10: 4, true: 5}", "{\"10\":4,\"B\":3,\"a\":2,\"b\":1,\"true\":5}"),
  ]

  @Test(arguments: values) func aYAMLValueBecomesItsJSON(_ yaml: String, _ json: String) throws {
    #expect(try Self.json(yaml) == json)
  }

  @Test func anAliasIsWhatItStandsFor() throws {
    #expect(try Self.json("{a: &x {k: 1}, b: [*x, *x]}") == #"{"a":{"k":1},"b":[{"k":1},{"k":1}]}"#)
  }

  @Test func blockTextKeepsItsLines() throws {
    let text = Tree.manifest("geo", "  pluginConfig:\n    v: |\n      a\n      b: c\n")
    let tree = try Tree(["plugins.d/geo.yaml": text])
    let bytes = try #require(try tree.load().plugins.first).pluginConfiguration
    #expect(String(decoding: bytes, as: UTF8.self) == #"{"v":"a\nb: c\n"}"#)
  }
}
