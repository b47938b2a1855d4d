/// A parsed CEL expression: nodes that name each other by number, so that no depth of them costs stack when it goes.
struct CELExpression {
  enum Node {
    case literal(CELValue)
    case identifier(String)
    case select(Int, String)
    case index(Int, Int)
    /// `has(a.b)`.
    case has(Int)
    case not(Int)
    case negate(Int)
    case binary(Operator, Int, Int)
    case all([Int])
    case any([Int])
    case conditional(Int, then: Int, else: Int)
    case list([Int])
    case map([Int])
    case call(Function, [Int])
    /// `matches` of a pattern that was known beforehand.
    case matches(Int, CELPattern)
  }

  enum Operator {
    case equal, notEqual, less, lessOrEqual, greater, greaterOrEqual, contains, add, subtract, multiply, divide, modulo
  }

  /// The functions that there are, with how many arguments each takes; a receiver is the first.
  enum Function: String, CaseIterable {
    case size, startsWith, endsWith, contains, matches, int, uint, double, string, bytes, bool

    var arguments: Int {
      switch self {
      case .size, .int, .uint, .double, .string, .bytes, .bool: 1
      case .startsWith, .endsWith, .contains, .matches: 2
      }
    }
  }

  /// The text of an expression, its nodes, and how deep they lie within each other.
  static let maximumText = 16 << 10
  static let maximumNodes = 2_048
  static let maximumDepth = 64
  /// The states of all patterns in one expression.
  static let maximumStates = 16 << 10

  var nodes: [Node] = []
  var root = 0

  /// Parses a text.
  ///
  /// - Throws: `CELError` where it is no expression, one with what is not supported, or over a bound.
  init(_ text: UnsafeRawBufferPointer) throws(CELError) {
    guard text.count <= Self.maximumText else { throw CELError("the expression is longer than 16 KiB") }
    var parser = try CELParser(text)
    root = try parser.parse()
    nodes = parser.nodes
  }

  /// The memory that it takes, about.
  var byteCount: Int {
    var bytes = nodes.count &* MemoryLayout<Node>.stride
    for node in nodes {
      switch node {
      case .literal(.string(let text)), .literal(.bytes(let text)): bytes &+= text.count
      case .identifier(let name), .select(_, let name): bytes &+= name.utf8.count
      case .all(let parts), .any(let parts), .list(let parts), .map(let parts), .call(_, let parts):
        bytes &+= parts.count &* MemoryLayout<Int>.stride
      case .matches(_, let pattern): bytes &+= pattern.byteCount
      case .literal, .index, .has, .not, .negate, .binary, .conditional: break
      }
    }
    return bytes
  }

  /// The path of a property that a node names, where it is nothing but names.
  func path(_ node: Int) -> [UInt8]? {
    switch nodes[node] {
    case .identifier(let name): return Array(name.utf8)
    case .select(let operand, let field):
      guard var path = path(operand) else { return nil }
      path.append(0)
      path.append(contentsOf: field.utf8)
      return path
    case .index(let operand, let key):
      guard case .literal(.string(let name)) = nodes[key], !name.contains(0), var path = path(operand) else {
        return nil
      }
      path.append(0)
      path.append(contentsOf: name)
      return path
    default: return nil
    }
  }
}
