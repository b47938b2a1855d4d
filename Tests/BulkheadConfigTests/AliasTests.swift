import BulkheadConfig
import Foundation
import Testing

/// Aliases count for what they stand for, as the parser tells of them; what looks like one in text is text.
@Suite struct AliasTests {
  /// What follows `pluginConfig: ` on its line and the lines below it, and the JSON that comes of it.
  static let texts: [(String, String)] = [
    ("{ua: '(?i).*bot'}", #"{"ua":"(?i).*bot"}"#),
    ("{re: ^(?:/a|/b).*c$}", #"{"re":"^(?:/a|/b).*c$"}"#),
    ("{re: '^/(?!.*admin)'}", #"{"re":"^/(?!.*admin)"}"#),
    ("{hosts: ['*a:8080', \"*:80\"]}", #"{"hosts":["*a:8080","*:80"]}"#),
    ("{a: b} # *NOTE: keep, ? that", #"{"a":"b"}"#),
    ("# *NOTE: keep\n    a: b", #"{"a":"b"}"#),
    (
      "\n    code: |\n      x = a *b ? c : d\n      *p: q\n      ? [*b]",
      #"{"code":"x = a *b ? c : d\n*p: q\n? [*b]"}"#
    ),
    ("\n    code: >-\n      a *b\n      : c", #"{"code":"a *b : c"}"#),
    ("\n    a*b: c*d", #"{"a*b":"c*d"}"#),
    ("\n    'a *b': 1\n    \"*c\": 2", #"{"*c":2,"a *b":1}"#),
    ("\n    a: \"x\n      *b: y\"", #"{"a":"x *b: y"}"#),
    ("\n    url: http://h/?q=*x&y=*z", #"{"url":"http://h/?q=*x&y=*z"}"#),
    ("{a: b&c, d: e*f}", #"{"a":"b&c","d":"e*f"}"#),
    // And those that are.
    ("{a: &x [1, 2], b: *x, c: {d: *x}}", #"{"a":[1,2],"b":[1,2],"c":{"d":[1,2]}}"#),
    ("{a: &x z, b: [*x , *x]}", #"{"a":"z","b":["z","z"]}"#),
    ("{&k a: 1, b: *k }", #"{"a":1,"b":"a"}"#),
    ("{a: &x 1, b: &x 2, c: *x}", #"{"a":1,"b":2,"c":2}"#),
  ]

  @Test(arguments: texts) func whatLooksLikeAnAliasInTextIsTextAndAnAliasIsItsValue(_ text: String, _ json: String)
    throws
  {
    let tree = try Tree(["plugins.d/a.yaml": Tree.manifest("a", "  pluginConfig: \(text)")])
    #expect(tree.errors() == [])
    #expect(try tree.load().plugins.first.map { String(decoding: $0.pluginConfiguration, as: UTF8.self) } == json)
  }

  /// Levels of lists or mappings, each of which uses the one before twice or more.
  private static func nest(_ levels: Int, _ head: String, _ body: (String) -> String) -> String {
    "k0: &b0 \(head)\n" + (1...levels).map { "k\($0): &b\($0) \(body("*b\($0 - 1)"))\n" }.joined()
  }

  static let bombs: [(String, String)] = [
    ("lists", nest(60, "[x, x]") { "[\($0), \($0)]" }),
    ("wide lists", nest(9, "[x]") { alias in "[" + Array(repeating: alias, count: 10).joined(separator: ", ") + "]" }),
    ("mappings", nest(60, "{a: x}") { "{a: \($0) , b: \($0) }" }),
    ("lists and mappings", nest(60, "{a: x}") { "{a: [\($0), \($0)]}" }),
    ("block lists", nest(60, "[x, x]") { "\n  - \($0)\n  - \($0)" }),
  ]

  @Test(arguments: bombs) func aNestThatComesToTooMuchIsRefusedAtTheAliasThatDoes(_ name: String, _ text: String) throws
  {
    let began = ContinuousClock.now
    let errors = try HostileTextTests.errors(text)
    #expect(ContinuousClock.now - began < .seconds(5))
    #expect(errors.count == 1)
    let pattern =
      #/plugins\.d/a\.yaml:\d+:\d+: (more than 100000 values in one file, aliases included|nested deeper than 64 levels)/#
    #expect(errors.first?.wholeMatch(of: pattern) != nil, "\(name): \(errors)")
  }

  @Test func aTextThatIsUsedTooOftenIsRefused() throws {
    let text =
      "a: &x \(String(repeating: "t", count: 500_000))\nb: [\(Array(repeating: "*x", count: 200).joined(separator: ", "))]\n"
    #expect(
      try HostileTextTests.errors(text).map { $0.hasSuffix("more than 16 MiB of text in one file, aliases included") }
        == [true])
  }

  @Test func nestsThatAreUsedWithinEachOtherAreBoundedInDepth() throws {
    // Each level is one deeper, and used once: few values, and too deep.
    let errors = try HostileTextTests.errors(Self.nest(100, "[x]") { "[\($0)]" })
    #expect(errors.map { $0.hasSuffix("nested deeper than 64 levels") } == [true])
  }

  /// Each follows a nest that would come to a million million values, had anybody counted it there.
  static let keys: [(String, String)] = [
    ("*b : x", "an alias as a mapping's key is not supported: write the key out"),
    ("? *b\n: x", "an alias as a mapping's key is not supported: write the key out"),
    ("f: {*b : x}", "an alias as a mapping's key is not supported: write the key out"),
    ("f: {? *b : x}", "an alias as a mapping's key is not supported: write the key out"),
    ("? [*b]\n: x", "a key must be a string, not a list or a mapping"),
    ("[*b, *b]: x", "a key must be a string, not a list or a mapping"),
    ("{k: *b}: x", "a key must be a string, not a list or a mapping"),
    ("<<: *b", "merge keys ('<<') are not supported: write the keys out"),
    ("<<: [*b, *b]", "merge keys ('<<') are not supported: write the keys out"),
  ]

  @Test(arguments: keys) func anAliasInAKeyIsRefusedBeforeAnythingIsMadeOfIt(_ key: String, _ why: String) throws {
    let nest = Self.nest(12, "[x, x]") { "[\($0), \($0)]" }
    let line = nest.count(where: \.isNewline) + 1
    let errors = try HostileTextTests.errors(nest + key.replacing("*b", with: "*b12") + "\n")
    #expect(errors.count == 1)
    #expect(
      errors.first?.hasPrefix("plugins.d/a.yaml:\(line):") == true && errors.first?.hasSuffix(why) == true, "\(errors)")
  }

  @Test(arguments: [
    ("a: *a", "1:4: not YAML: found undefined alias"), ("a: &a [*a]", "1:8: this alias is within what it stands for"),
    ("a: &a {b: [1, *a]}", "1:15: this alias is within what it stands for"),
    ("a: &a 1\n---\nb: *a", "3:4: not YAML: found undefined alias"),
  ])
  func anAliasOfNothingIsRefused(_ text: String, _ error: String) throws {
    #expect(try HostileTextTests.errors(text).last == "plugins.d/a.yaml:\(error)")
  }
}
