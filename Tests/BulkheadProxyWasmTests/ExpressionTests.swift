import BulkheadCore
import BulkheadProxyWasm
import BulkheadWire
import ProxyWasmABI
import Testing

@Suite struct ExpressionTests {
  private static func inStream(_ body: @escaping (Harness) -> Void) throws {
    let harness = try Harness()
    harness.guest.callbacks[.responseHeaders] = { [unowned harness] _, _, _ in
      body(harness)
      return 0
    }
    try harness.run(.requestHeaders)
    try harness.run(.responseHeaders)
  }

  @Test(arguments: [
    "request.path == '/a/b?q=1'", "request.url_path.startsWith(\"/a\")", "request.headers['user-agent'] == 'test'",
    "request.headers[\"User-Agent\"].contains('es')", "'accept' in request.headers", "!('absent' in request.headers)",
    "request.method in ['PUT', 'GET']", "response.code == 200", "response.code >= 200 && response.code < 300",
    "response.code + 4 == 204", "200u == response.code", "request.host.endsWith('.org')",
    "request.host.matches('^ex[a-z]+[.]org$')", "!request.host.matches('^org')", "size(request.headers) > 5",
    "request.path.size() == 8", "has(request.headers) && !has(request.nothing)", "(1 + 2) * 3 == 9", "7 / 2 == 3",
    "7 % 4 == 3", "-1 < 0", "--1 == 1", "-9223372036854775808 < 0", "0x10 == 16", "1.5 + 1.5 == 3", "1e3 == 1000",
    "'a' + 'b' == 'ab'", "\"\\x41\\u00e4\\101\" == 'A\u{e4}A'", "size('\u{e4}\u{20ac}') == 2", "r'\\n' == '\\\\n'",
    "'''a\nb''' == 'a\\nb'", "b'\\xff' != b'\\xfe'", "true ? true : 1 / 0 == 0", "false || true || 1 / 0 == 1",
    "1 / 0 == 1 || true", "!(1 / 0 == 1 && false)", "{'a': 1}['a'] == 1", "{'a': {'b': 2}}.a.b == 2", "[1, 2][1] == 2",
    "[1, 2] + [3] == [1, 2, 3]", "2 in [1, 2]", "'k' in {'k': 1}", "int('42') == 42", "string(42) == '42'",
    "double('0.5') == 0.5", "uint(3) == 3u", "bool('true')", "null == null", "connection.mtls == false",
    "plugin_name == 'demo' && plugin_root_id == 'root'", "size([]) == 0 && size({}) == 0", "1 != 'a'",
    "'b' > 'a' && 2u > 1u && 2.0 > 1.0", "string(b'x') == 'x' && bytes('x') == b'x'", "// all of it\n true",
    ".request.method == 'GET'", "request['method'] == 'GET'", "'abcabd'.contains('abd') && 'x'.contains('')",
  ])
  func isTrue(text: String) throws {
    try Self.inStream { harness in #expect(harness.evaluate(text) == [1]) }
  }

  @Test func resultsAreEncodedAsPropertiesAre() throws {
    try Self.inStream { harness in
      #expect(harness.evaluate("request.method") == Array("GET".utf8))
      #expect(harness.evaluate("response.code") == PropertyValue.bytes(200 as Int64))
      #expect(harness.evaluate("3u") == PropertyValue.bytes(3 as UInt64))
      #expect(harness.evaluate("0.5") == PropertyValue.bytes(0.5))
      #expect(harness.evaluate("false") == [0])
      #expect(harness.evaluate("['a', 'bc']") == CalloutTests.block([("a", ""), ("bc", "")]))
      #expect(harness.evaluate("{'a': 'b'}") == CalloutTests.block([("a", "b")]))
      #expect(harness.evaluate("response.headers") == CalloutTests.block(Harness.response))
      #expect(harness.evaluate("b'\\x01'") == [1])
    }
  }

  @Test(arguments: [
    "", "(", "1 +", "a b", "'", "request.", "f(1)", "size()", "size(1, 2)", "'a'.int()", "99999999999999999999",
    "9223372036854775808", "1 ? 2", "[1", "{1: }", "@", "'\\q'", "'\\u12'", "'\\ud800'", "has(1)", "a..b", "!", "in",
    "x.matches('(')", "x.matches('*')", "x.matches('[')", "x.matches('a{101}')", "x.matches('(?i)a')", "'a\nb'",
  ])
  func isNoExpression(text: String) throws {
    let harness = try Harness { $0.logLevel = .debug }
    #expect(harness.foreign("expr_create", Array(text.utf8)).status == .badArgument)
    #expect(harness.services.logs.contains { $0.message.hasPrefix("expr_create: ") })
  }

  @Test(arguments: [
    "request.nothing", "request.headers['absent'] == ''", "1 + 'a'", "1 / 0", "1 % 0", "9223372036854775807 + 1",
    "-(-9223372036854775807 - 1)", "1u - 2u", "[1][1]", "[1][-1]", "{'a': 1}['b']", "1 && true", "!1", "1 < 'a'",
    "1 in 2",
    "int('x')", "uint(-1)", "size(1)", "1.startsWith('a')", "'a'.startsWith(1)", "0.0 / 0.0 < 1.0", "int(1e300)",
    "'a' ? 1 : 2",
  ])
  func hasNoValue(text: String) throws {
    try Self.inStream { harness in
      let (created, token) = harness.foreign("expr_create", Array(text.utf8))
      #expect(created == .ok)
      #expect(harness.foreign("expr_evaluate", token).status == .internalFailure)
    }
  }

  @Test func whatHasNoEncodingIsNotGiven() throws {
    let harness = try Harness()
    let token = harness.foreign("expr_create", Array("null".utf8)).result
    #expect(harness.foreign("expr_evaluate", token).status == .serializationFailure)
  }

  @Test func tokensBeginAt0AndAnUnknownOneIsNotFound() throws {
    let harness = try Harness()
    #expect(harness.foreign("expr_create", Array("1".utf8)) == (.ok, [0, 0, 0, 0]))
    #expect(harness.foreign("expr_create", Array("2".utf8)) == (.ok, [1, 0, 0, 0]))
    #expect(harness.foreign("expr_evaluate", [1, 0, 0, 0]) == (.ok, [2, 0, 0, 0, 0, 0, 0, 0]))
    #expect(harness.foreign("expr_evaluate", [2, 0, 0, 0]).status == .notFound)
    #expect(harness.foreign("expr_evaluate", [0]).status == .badArgument)
    #expect(harness.foreign("expr_delete", [1, 0, 0, 0]).status == .ok)
    #expect(harness.foreign("expr_delete", [1, 0, 0, 0]).status == .ok)
    #expect(harness.foreign("expr_delete", []).status == .badArgument)
    #expect(harness.foreign("expr_evaluate", [1, 0, 0, 0]).status == .notFound)
  }

  @Test func depthSizeAndNumberOfExpressionsAreBounded() throws {
    let harness = try Harness()
    for (open, close) in [("(", ")"), ("[", "]"), ("-", ""), ("!", ""), ("a[", "]"), ("true ? 1 : ", "")] {
      let text = String(repeating: open, count: 2_000) + "1" + String(repeating: close, count: 2_000)
      #expect(harness.foreign("expr_create", Array(text.utf8)).status == .badArgument)
    }
    let chain = "a" + String(repeating: ".a", count: 1_000)
    #expect(harness.foreign("expr_create", Array(chain.utf8)).status == .badArgument)
    // Alternatives side by side are not deep.
    let wide = Array(repeating: "true", count: 1_000).joined(separator: " && ")
    #expect(harness.evaluate(wide) == [1])
    #expect(harness.foreign("expr_create", Array(repeating: 0x20, count: 20_000)).status == .badArgument)
    var last = Status.ok
    for _ in 0..<1_100 where last == .ok { last = harness.foreign("expr_create", [0x31]).status }
    #expect(last == .internalFailure)
  }

  @Test(arguments: [
    ("a", "cat", true), ("^a", "cat", false), ("t$", "cat", true), ("^(a|b)*$", "abba", true),
    ("^(a|b)*$", "abc", false),
    ("^a{2,3}$", "aa", true), ("^a{2,3}$", "aaaa", false), ("^a{2}$", "aa", true), ("^a{2,}$", "aaaaa", true),
    ("a{x}", "a{x}", true), ("^\\d+$", "123", true), ("^\\D$", "1", false), ("^[^a-c]+$", "xyz", true),
    ("^[]a]+$", "]a", true), ("[a-]", "-", true), ("^.$", "\n", false), ("^(?:ab)+?c$", "ababc", true),
    ("^(|a)b$", "b", true), ("", "", true), ("^\\w+\\s\\S$", "ab1 _", true), ("x|^b|c$", "abc", true),
    ("^(a|(b|c)d)e$", "cde", true), ("\\.", "a", false), ("(a*)*$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaab", true),
    ("^(a*)*$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaab", false), ("^a?b{0}c$", "c", true), ("^(ab){2}$", "abab", true),
  ])
  func patternsMatchAsTheyDoElsewhere(pattern: String, text: String, matches: Bool) throws {
    let harness = try Harness()
    #expect(harness.evaluate("r'''\(text)'''.matches(r'\(pattern)')") == [matches ? 1 : 0])
    #expect(harness.evaluate("matches(r'''\(text)''', r'\(pattern)' + '')") == [matches ? 1 : 0])
  }
}
