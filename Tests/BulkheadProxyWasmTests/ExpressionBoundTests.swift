import BulkheadWire
import ProxyWasmABI
import Testing

@testable import BulkheadProxyWasm

/// What an expression may cost, in memory and in time.
@Suite struct ExpressionBoundTests {
  /// An expression with so many patterns of about 4,000 states each.
  private static func patterns(_ count: Int) -> [UInt8] {
    Array([String](repeating: "a.matches('(a{50}){70}')", count: count).joined(separator: " && ").utf8)
  }

  @Test func thePatternsOfOneExpressionAreBounded() throws {
    let harness = try Harness { $0.logLevel = .debug }
    #expect(harness.foreign("expr_create", Self.patterns(4)).status == .ok)
    #expect(harness.foreign("expr_create", Self.patterns(5)).status == .badArgument)
    #expect(harness.services.logs.contains { $0.message.contains("16,384") })
  }

  @Test func theExpressionsOfAPluginAreBoundedTogether() throws {
    let harness = try Harness()
    var created = 0
    while created < 100, harness.foreign("expr_create", Self.patterns(4)).status == .ok { created += 1 }
    #expect((8...40).contains(created))
    #expect(harness.services.logs.contains { $0.message.contains("at most 8388608 bytes") })
    // What is deleted makes room.
    #expect(harness.foreign("expr_delete", [0, 0, 0, 0]).status == .ok)
    #expect(harness.foreign("expr_create", Self.patterns(4)).status == .ok)
    #expect(harness.foreign("expr_create", Self.patterns(4)).status == .internalFailure)
  }

  private static let text = String(repeating: "a", count: 100_000)

  private static func failure(_ expression: String, _ budget: CELBudget = CELBudget()) throws -> String {
    let parsed = try Array(expression.utf8).withUnsafeBytes { try CELExpression($0) }
    let evaluator = CELEvaluator(
      parsed, budget: budget, property: { _ in Array(Self.text.utf8) }, type: { _ in .string })
    do {
      return "\(try evaluator.value())"
    } catch {
      return error.reason.description
    }
  }

  @Test(arguments: [
    // Each byte of the text has a thousand states to look at.
    "text.matches('(a?){100}(a?){100}(a?){100}(a?){100}(a?){100}b')",
    "text.matches('(a?){100}' + '(a?){100}(a?){100}(a?){100}(a?){100}b')",
  ])
  func aMatchThatTakesTooLongIsGivenUp(expression: String) throws {
    #expect(try Self.failure(expression, CELBudget(steps: 500_000)).contains("50,000,000 steps"))
    #expect(try Self.failure("size(text) == 100000") == "bool(true)")
  }

  @Test func comparingCountsToo() throws {
    let list = "[" + [String](repeating: "'a'", count: 900).joined(separator: ",") + "]"
    let sum = "(\(list) + \(list))"
    #expect(try Self.failure("\(list) == \(list)") == "bool(true)")
    let budget = CELBudget()
    for _ in 0..<1_000 { _ = try Self.failure("text == text", budget) }
    #expect(try Self.failure("1 in [1]", budget).contains("bounds were reached") == false)
    #expect(try Self.failure("text == ''", budget) == "an expression goes on after its bounds were reached")
    #expect(try Self.failure("size(\(sum)) == 1800") == "bool(true)")
  }

  @Test func whetherAPropertyIsThereIsReadOnBudgetToo() throws {
    let many = [String](repeating: "has(a.b)", count: 600).joined(separator: " && ")
    #expect(try Self.failure(many).contains("bounds were reached"))
  }

  @Test func anInterruptEndsAnEvaluation() throws {
    let reason = try Self.failure(
      "text.matches('(a?){50}b')", CELBudget(steps: 500_000, isInterrupted: { true }))
    #expect(reason == "the callback was interrupted past its deadline")
  }
}
