/// Parses CEL by recursive descent, with bounds on nodes and depth.
struct CELParser {
  private var lexer: CELLexer
  private var token: CELLexer.Token
  private(set) var nodes: [CELExpression.Node] = []
  /// Of each node, how deep it reaches.
  private var depths: [Int] = []
  private var nesting = 0
  /// States that the patterns of the expression may still have.
  private var statesLeft = CELExpression.maximumStates

  init(_ text: UnsafeRawBufferPointer) throws(CELError) {
    lexer = CELLexer(text)
    token = try lexer.next()
  }

  /// - Returns: the root's number.
  mutating func parse() throws(CELError) -> Int {
    let root = try expression()
    guard token == .end else { throw CELError("something follows the expression") }
    return root
  }

  // MARK: Tokens and nodes

  private mutating func advance() throws(CELError) { token = try lexer.next() }

  private mutating func take(_ symbol: CELLexer.StaticSymbol) throws(CELError) -> Bool {
    guard token == .symbol(symbol) else { return false }
    try advance()
    return true
  }

  private mutating func expect(_ symbol: CELLexer.StaticSymbol) throws(CELError) {
    guard try take(symbol) else { throw CELError("a bracket, a colon or a name is missing") }
  }

  private mutating func add(_ node: CELExpression.Node, over children: [Int] = []) throws(CELError) -> Int {
    let depth = (children.map { depths[$0] }.max() ?? 0) &+ 1
    guard nodes.count < CELExpression.maximumNodes else { throw CELError("the expression has more than 2,048 parts") }
    guard depth <= CELExpression.maximumDepth else { throw CELError("the expression is more than 64 levels deep") }
    nodes.append(node)
    depths.append(depth)
    return nodes.count &- 1
  }

  // MARK: Grammar

  private mutating func expression() throws(CELError) -> Int {
    nesting &+= 1
    defer { nesting &-= 1 }
    guard nesting <= CELExpression.maximumDepth else { throw CELError("the expression is more than 64 levels deep") }
    let condition = try disjunction()
    guard try take(.question) else { return condition }
    let first = try disjunction()
    try expect(.colon)
    let second = try expression()
    return try add(.conditional(condition, then: first, else: second), over: [condition, first, second])
  }

  private mutating func disjunction() throws(CELError) -> Int {
    var parts = [try conjunction()]
    while try take(.or) { parts.append(try conjunction()) }
    return parts.count == 1 ? parts[0] : try add(.any(parts), over: parts)
  }

  private mutating func conjunction() throws(CELError) -> Int {
    var parts = [try relation()]
    while try take(.and) { parts.append(try relation()) }
    return parts.count == 1 ? parts[0] : try add(.all(parts), over: parts)
  }

  private var relationOperator: CELExpression.Operator? {
    switch token {
    case .symbol(.equal): .equal
    case .symbol(.notEqual): .notEqual
    case .symbol(.less): .less
    case .symbol(.lessOrEqual): .lessOrEqual
    case .symbol(.greater): .greater
    case .symbol(.greaterOrEqual): .greaterOrEqual
    case .identifier("in"): .contains
    default: nil
    }
  }

  private mutating func relation() throws(CELError) -> Int {
    var left = try sum()
    while let operation = relationOperator {
      try advance()
      let right = try sum()
      left = try add(.binary(operation, left, right), over: [left, right])
    }
    return left
  }

  private mutating func sum() throws(CELError) -> Int {
    var left = try product()
    while token == .symbol(.plus) || token == .symbol(.minus) {
      let operation: CELExpression.Operator = token == .symbol(.plus) ? .add : .subtract
      try advance()
      let right = try product()
      left = try add(.binary(operation, left, right), over: [left, right])
    }
    return left
  }

  private mutating func product() throws(CELError) -> Int {
    var left = try unary()
    while true {
      let operation: CELExpression.Operator
      switch token {
      case .symbol(.times): operation = .multiply
      case .symbol(.divide): operation = .divide
      case .symbol(.modulo): operation = .modulo
      default: return left
      }
      try advance()
      let right = try unary()
      left = try add(.binary(operation, left, right), over: [left, right])
    }
  }

  private mutating func unary() throws(CELError) -> Int {
    var operators: [CELLexer.StaticSymbol] = []
    while true {
      guard operators.count <= CELExpression.maximumDepth else {
        throw CELError("the expression is more than 64 levels deep")
      }
      if try take(.not) {
        operators.append(.not)
      } else if try take(.minus) {
        operators.append(.minus)
      } else {
        break
      }
    }
    var node: Int
    if operators.last == .minus, case .magnitude(let value) = token, value == 1 << 63 {
      // The only number that has no positive counterpart.
      operators.removeLast()
      try advance()
      node = try add(.literal(.int(.min)))
    } else {
      node = try member()
    }
    for symbol in operators.reversed() { node = try add(symbol == .not ? .not(node) : .negate(node), over: [node]) }
    return node
  }

  private mutating func member() throws(CELError) -> Int {
    var node = try primary()
    while true {
      if try take(.dot) {
        guard case .identifier(let name) = token else { throw CELError("a name is missing behind a dot") }
        try advance()
        if try take(.open) {
          node = try call(name, [node] + arguments(until: .close), isMethod: true)
        } else {
          node = try add(.select(node, name), over: [node])
        }
      } else if try take(.openBracket) {
        let key = try expression()
        try expect(.closeBracket)
        node = try add(.index(node, key), over: [node, key])
      } else {
        return node
      }
    }
  }

  private mutating func arguments(until end: CELLexer.StaticSymbol) throws(CELError) -> [Int] {
    var result: [Int] = []
    while !(try take(end)) {
      result.append(try expression())
      if !(try take(.comma)) {
        try expect(end)
        break
      }
    }
    return result
  }

  private mutating func primary() throws(CELError) -> Int {
    switch token {
    case .literal(let value):
      try advance()
      return try add(.literal(value))
    case .magnitude(let value):
      guard let number = Int64(exactly: value) else { throw CELError("a number is out of range") }
      try advance()
      return try add(.literal(.int(number)))
    case .identifier("in"): throw CELError("an operand is missing")
    case .identifier(let name): return try named(name)
    case .symbol(.dot):
      // A leading dot stands for the outermost scope, which is the only one.
      try advance()
      guard case .identifier(let name) = token else { throw CELError("a name is missing behind a dot") }
      return try named(name)
    case .symbol(.open):
      try advance()
      let inner = try expression()
      try expect(.close)
      return inner
    case .symbol(.openBracket):
      try advance()
      let elements = try arguments(until: .closeBracket)
      return try add(.list(elements), over: elements)
    case .symbol(.openBrace):
      try advance()
      return try entries()
    case .end: throw CELError("the expression ends too early")
    case .symbol: throw CELError("an operand is missing")
    }
  }

  private mutating func named(_ name: String) throws(CELError) -> Int {
    try advance()
    guard try take(.open) else { return try add(.identifier(name)) }
    return try call(name, try arguments(until: .close), isMethod: false)
  }

  private mutating func entries() throws(CELError) -> Int {
    var parts: [Int] = []
    while !(try take(.closeBrace)) {
      parts.append(try expression())
      try expect(.colon)
      parts.append(try expression())
      if !(try take(.comma)) {
        try expect(.closeBrace)
        break
      }
    }
    return try add(.map(parts), over: parts)
  }

  private mutating func call(_ name: String, _ arguments: [Int], isMethod: Bool) throws(CELError) -> Int {
    if name == "has", !isMethod {
      guard arguments.count == 1, case .select = nodes[arguments[0]] else {
        throw CELError("has() takes the name of a field")
      }
      return try add(.has(arguments[0]), over: arguments)
    }
    guard let function = CELExpression.Function(rawValue: name) else { throw CELError("a function is not known") }
    guard arguments.count == function.arguments, !isMethod || function == .size || function.arguments == 2 else {
      throw CELError("a function has the wrong number of arguments")
    }
    if function == .matches, case .literal(.string(let pattern)) = nodes[arguments[1]] {
      let pattern = try CELPattern(pattern, mostStates: statesLeft)
      statesLeft &-= pattern.stateCount
      return try add(.matches(arguments[0], pattern), over: arguments)
    }
    return try add(.call(function, arguments), over: arguments)
  }
}
