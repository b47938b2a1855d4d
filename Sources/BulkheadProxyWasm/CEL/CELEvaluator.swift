/// Evaluates a CEL expression over the properties of a context. Each node is looked at once at most, no value grows over
/// `CELValue.maximumBytes`, and what costs more than that counts against the budget: an expression cannot take long.
struct CELEvaluator {
  let expression: CELExpression
  /// The property of a path; nil where there is none.
  let property: ([UInt8]) -> [UInt8]?
  /// The type in which a property is to be seen.
  let type: ([UInt8]) -> CELAttributeType
  let budget: CELBudget

  init(
    _ expression: CELExpression, budget: CELBudget = CELBudget(), property: @escaping ([UInt8]) -> [UInt8]?,
    type: @escaping ([UInt8]) -> CELAttributeType
  ) {
    self.expression = expression
    self.budget = budget
    self.property = property
    self.type = type
  }

  /// - Throws: `CELError` where there is no value: a property that is not there, operands that do not fit.
  func value() throws(CELError) -> CELValue { try value(expression.root) }

  private func value(_ node: Int) throws(CELError) -> CELValue {
    switch expression.nodes[node] {
    case .literal(let value): return value
    case .identifier: return try attribute(node)
    case .select(let operand, let field):
      if expression.path(node) != nil { return try attribute(node) }
      return try element(try value(operand), .string(field))
    case .index(let operand, let key): return try indexed(operand, key)
    case .has(let field): return .bool(try isThere(field))
    case .not(let operand): return .bool(!(try bool(operand)))
    case .negate(let operand): return try negated(try value(operand))
    case .all(let parts): return .bool(try logical(parts, decisive: false))
    case .any(let parts): return .bool(try logical(parts, decisive: true))
    case .conditional(let condition, let first, let second): return try value(try bool(condition) ? first : second)
    case .list(let elements):
      var result: [CELValue] = []
      for element in elements { result.append(try value(element)) }
      return .list(result)
    case .map(let parts):
      var entries: [CELEntry] = []
      for index in stride(from: 0, to: parts.count &- 1, by: 2) {
        entries.append(CELEntry(key: try value(parts[index]), value: try value(parts[index &+ 1])))
      }
      return .map(entries)
    case .binary(.contains, let left, let right): return .bool(try isIn(left, right))
    case .binary(let operation, let left, let right):
      return try combine(operation, try value(left), try value(right))
    case .call(let function, let arguments): return try call(function, arguments)
    case .matches(let operand, let pattern): return .bool(try matches(try text(operand), pattern))
    }
  }

  private func bool(_ node: Int) throws(CELError) -> Bool {
    guard case .bool(let value) = try value(node) else { throw CELError("a condition is no boolean") }
    return value
  }

  /// `&&` and `||`: one part that decides is enough, whatever is wrong with the others.
  private func logical(_ parts: [Int], decisive: Bool) throws(CELError) -> Bool {
    var failure: CELError?
    for part in parts {
      do throws(CELError) {
        if try bool(part) == decisive { return decisive }
      } catch {
        failure = error
      }
    }
    if let failure { throw failure }
    return !decisive
  }

  // MARK: Attributes, maps and lists

  private func attribute(_ node: Int) throws(CELError) -> CELValue {
    guard let path = expression.path(node) else { throw CELError("there is no such attribute") }
    return try attribute(path: path)
  }

  private func attribute(path: [UInt8]) throws(CELError) -> CELValue {
    guard let bytes = try read(path) else { throw CELError("there is no such attribute") }
    guard bytes.count <= CELValue.maximumBytes else { throw CELError("an attribute is larger than 1 MiB") }
    return type(path).value(bytes)
  }

  /// The bytes of a property, which are a copy: they count whatever becomes of them.
  private func read(_ path: [UInt8]) throws(CELError) -> [UInt8]? {
    try budget.check()
    let bytes = property(path)
    try budget.spend(bytes?.count ?? 0)
    return bytes
  }

  private func isThere(_ node: Int) throws(CELError) -> Bool {
    if let path = expression.path(node) { return try read(path) != nil }
    guard case .select(let operand, let field) = expression.nodes[node], let map = try? value(operand) else {
      return false
    }
    return (try? element(map, .string(field))) != nil
  }

  private func indexed(_ operand: Int, _ key: Int) throws(CELError) -> CELValue {
    let key = try value(key)
    if var path = expression.path(operand), case .string(let name) = key, !name.contains(0) {
      path.append(0)
      path.append(contentsOf: name)
      return try attribute(path: path)
    }
    return try element(try value(operand), key)
  }

  private func element(_ container: CELValue, _ key: CELValue) throws(CELError) -> CELValue {
    switch container {
    case .map(let entries):
      for entry in entries where try CELValue.areEqual(entry.key, key, budget) { return entry.value }
      throw CELError("there is no such key")
    case .list(let elements):
      guard case .int(let index) = key, let place = Int(exactly: index), elements.indices.contains(place) else {
        throw CELError("an index is out of bounds")
      }
      return elements[place]
    default: throw CELError("there is nothing to index")
    }
  }

  private func isIn(_ left: Int, _ right: Int) throws(CELError) -> Bool {
    let wanted = try value(left)
    if var path = expression.path(right), type(path) == .map, case .string(let name) = wanted, !name.contains(0) {
      path.append(0)
      path.append(contentsOf: name)
      return try read(path) != nil
    }
    switch try value(right) {
    case .list(let elements):
      for element in elements where try CELValue.areEqual(element, wanted, budget) { return true }
    case .map(let entries):
      for entry in entries where try CELValue.areEqual(entry.key, wanted, budget) { return true }
    default: throw CELError("the right side of 'in' is neither list nor map")
    }
    return false
  }

  // MARK: Operators

  private func negated(_ value: CELValue) throws(CELError) -> CELValue {
    switch value {
    case .int(let number):
      guard number != .min else { throw CELError("a number is out of range") }
      return .int(-number)
    case .double(let number): return .double(-number)
    default: throw CELError("only numbers have a sign")
    }
  }

  private func combine(
    _ operation: CELExpression.Operator, _ left: CELValue, _ right: CELValue
  ) throws(CELError) -> CELValue {
    switch operation {
    case .equal: return .bool(try CELValue.areEqual(left, right, budget))
    case .notEqual: return .bool(!(try CELValue.areEqual(left, right, budget)))
    case .less: return .bool(try order(left, right) < 0)
    case .lessOrEqual: return .bool(try order(left, right) <= 0)
    case .greater: return .bool(try order(left, right) > 0)
    case .greaterOrEqual: return .bool(try order(left, right) >= 0)
    case .add, .subtract, .multiply, .divide, .modulo: return try arithmetic(operation, left, right)
    case .contains: throw CELError("operands do not fit")
    }
  }

  private func order(_ left: CELValue, _ right: CELValue) throws(CELError) -> Int {
    guard let order = try CELValue.order(left, right, budget) else {
      throw CELError("values that have no order are compared")
    }
    return order
  }

  private func arithmetic(
    _ operation: CELExpression.Operator, _ left: CELValue, _ right: CELValue
  ) throws(CELError) -> CELValue {
    switch (left, right) {
    case (.int(let a), .int(let b)): return .int(try Self.whole(operation, a, b))
    case (.uint(let a), .uint(let b)): return .uint(try Self.whole(operation, a, b))
    case (.duration(let a), .duration(let b)) where operation == .add || operation == .subtract:
      return .duration(try Self.whole(operation, a, b))
    case (.timestamp(let a), .duration(let b)) where operation == .add || operation == .subtract:
      return .timestamp(try Self.whole(operation, a, b))
    case (.timestamp(let a), .timestamp(let b)) where operation == .subtract:
      return .duration(try Self.whole(operation, a, b))
    case (.double(let a), .double(let b)):
      switch operation {
      case .add: return .double(a + b)
      case .subtract: return .double(a - b)
      case .multiply: return .double(a * b)
      case .divide: return .double(a / b)
      default: break
      }
    case (.string(let a), .string(let b)) where operation == .add: return .string(try joined(a, b))
    case (.bytes(let a), .bytes(let b)) where operation == .add: return .bytes(try joined(a, b))
    case (.list(let a), .list(let b)) where operation == .add:
      guard a.count &+ b.count <= CELExpression.maximumNodes else { throw CELError("a list is too long") }
      try budget.work(a.count &+ b.count)
      return .list(a + b)
    default: break
    }
    throw CELError("operands do not fit")
  }

  private func joined(_ a: [UInt8], _ b: [UInt8]) throws(CELError) -> [UInt8] {
    guard a.count &+ b.count <= CELValue.maximumBytes else { throw CELError("a string is larger than 1 MiB") }
    try budget.spend(a.count &+ b.count)
    return a + b
  }

  private static func whole<T: FixedWidthInteger>(
    _ operation: CELExpression.Operator, _ a: T, _ b: T
  ) throws(CELError) -> T {
    let result: (partialValue: T, overflow: Bool)
    switch operation {
    case .add: result = a.addingReportingOverflow(b)
    case .subtract: result = a.subtractingReportingOverflow(b)
    case .multiply: result = a.multipliedReportingOverflow(by: b)
    case .divide: result = a.dividedReportingOverflow(by: b)
    case .modulo: result = a.remainderReportingOverflow(dividingBy: b)
    default: throw CELError("operands do not fit")
    }
    guard !result.overflow else { throw CELError("a number is out of range") }
    return result.partialValue
  }

  // MARK: Functions

  /// A string's or bytes' bytes.
  private func text(_ node: Int) throws(CELError) -> [UInt8] {
    switch try value(node) {
    case .string(let text), .bytes(let text): return text
    default: throw CELError("a function takes a string")
    }
  }

  private func matches(_ text: [UInt8], _ pattern: CELPattern) throws(CELError) -> Bool {
    guard let matches = try pattern.matches(text, budget) else {
      throw CELError("a text to match is larger than 256 KiB")
    }
    return matches
  }

  /// A pattern that is made while the expression runs.
  private func pattern(_ node: Int) throws(CELError) -> CELPattern {
    let text = try text(node)
    try budget.check()
    let pattern = try CELPattern(text)
    // Repetitions within each other copy what they repeat.
    try budget.work(text.count &* pattern.stateCount)
    return pattern
  }

  private func call(_ function: CELExpression.Function, _ arguments: [Int]) throws(CELError) -> CELValue {
    switch function {
    case .startsWith: return .bool(try text(arguments[0]).starts(with: try text(arguments[1])))
    case .endsWith: return .bool(try text(arguments[0]).reversed().starts(with: try text(arguments[1]).reversed()))
    case .contains: return .bool(Self.contains(try text(arguments[0]), try text(arguments[1])))
    case .matches: return .bool(try matches(try text(arguments[0]), try pattern(arguments[1])))
    default: break
    }
    let value = try value(arguments[0])
    switch function {
    case .size: return try Self.size(value)
    case .string: return try Self.string(value)
    case .int: return try Self.int(value)
    case .uint: return try Self.uint(value)
    case .double: return try Self.double(value)
    case .bytes:
      if case .string(let text) = value { return .bytes(text) }
      if case .bytes = value { return value }
    case .bool:
      if case .bool = value { return value }
      if value == .string("true") { return .bool(true) }
      if value == .string("false") { return .bool(false) }
    default: break
    }
    throw CELError("a value cannot be converted")
  }

  private static func contains(_ text: [UInt8], _ part: [UInt8]) -> Bool {
    guard !part.isEmpty else { return true }
    // Of each beginning of the part, the longest shorter one that it ends in: no byte of the text is looked at twice.
    var borders = [0]
    var matched = 0
    for byte in part.dropFirst() {
      while matched > 0, part[matched] != byte { matched = borders[matched &- 1] }
      if part[matched] == byte { matched &+= 1 }
      borders.append(matched)
    }
    matched = 0
    for byte in text {
      while matched > 0, part[matched] != byte { matched = borders[matched &- 1] }
      if part[matched] == byte { matched &+= 1 }
      if matched == part.count { return true }
    }
    return false
  }

  private static func size(_ value: CELValue) throws(CELError) -> CELValue {
    switch value {
    // Characters: all bytes but those that continue one.
    case .string(let text): return .int(Int64(text.count { $0 & 0xC0 != 0x80 }))
    case .bytes(let bytes): return .int(Int64(bytes.count))
    case .list(let elements): return .int(Int64(elements.count))
    case .map(let entries): return .int(Int64(entries.count))
    default: throw CELError("a value has no size")
    }
  }

  private static func string(_ value: CELValue) throws(CELError) -> CELValue {
    switch value {
    case .string: return value
    case .bytes(let bytes): return .string(bytes)
    case .bool(let value): return .string(value ? "true" : "false")
    case .int(let number): return .string("\(number)")
    case .uint(let number): return .string("\(number)")
    case .double(let number): return .string("\(number)")
    default: throw CELError("a value cannot be converted")
    }
  }

  private static func int(_ value: CELValue) throws(CELError) -> CELValue {
    let result: Int64? =
      switch value {
      case .int(let number): number
      case .uint(let number): Int64(exactly: number)
      case .double(let number): number > -9.2e18 && number < 9.2e18 ? Int64(number) : nil
      case .string(let text): Int64(String(decoding: text, as: UTF8.self))
      case .timestamp(let time): time / 1_000_000_000
      default: nil
      }
    guard let result else { throw CELError("a value cannot be converted") }
    return .int(result)
  }

  private static func uint(_ value: CELValue) throws(CELError) -> CELValue {
    let result: UInt64? =
      switch value {
      case .uint(let number): number
      case .int(let number): UInt64(exactly: number)
      case .double(let number): number >= 0 && number < 1.8e19 ? UInt64(number) : nil
      case .string(let text): UInt64(String(decoding: text, as: UTF8.self))
      default: nil
      }
    guard let result else { throw CELError("a value cannot be converted") }
    return .uint(result)
  }

  private static func double(_ value: CELValue) throws(CELError) -> CELValue {
    let result: Double? =
      switch value {
      case .double(let number): number
      case .int(let number): Double(number)
      case .uint(let number): Double(number)
      case .string(let text): Double(String(decoding: text, as: UTF8.self))
      default: nil
      }
    guard let result else { throw CELError("a value cannot be converted") }
    return .double(result)
  }
}
