/// A regular expression in the common part of RE2's syntax, run as a set of states over the text: its time is the length of
/// the text times that of the pattern, whatever the two are. It works on bytes.
struct CELPattern {
  private enum State {
    case byte(ByteSet)
    case fork(Int, Int)
    case jump(Int)
    case start
    case end
    case match
  }

  /// A set of bytes.
  struct ByteSet {
    private var words: (UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0)

    func contains(_ byte: UInt8) -> Bool {
      let bit: UInt64 = 1 << UInt64(byte & 63)
      return switch byte >> 6 {
      case 0: words.0 & bit != 0
      case 1: words.1 & bit != 0
      case 2: words.2 & bit != 0
      default: words.3 & bit != 0
      }
    }

    mutating func insert(_ byte: UInt8) {
      let bit: UInt64 = 1 << UInt64(byte & 63)
      switch byte >> 6 {
      case 0: words.0 |= bit
      case 1: words.1 |= bit
      case 2: words.2 |= bit
      default: words.3 |= bit
      }
    }

    mutating func insert(_ range: ClosedRange<UInt8>) { for byte in range { insert(byte) } }

    mutating func formUnion(_ other: ByteSet) {
      words = (words.0 | other.words.0, words.1 | other.words.1, words.2 | other.words.2, words.3 | other.words.3)
    }

    mutating func invert() { words = (~words.0, ~words.1, ~words.2, ~words.3) }
  }

  static let maximumPattern = 1 << 10
  static let maximumStates = 4_096
  static let maximumDepth = 32
  static let maximumText = 256 << 10

  private var states: [State] = []
  private var pattern: [UInt8]
  private var at = 0
  private var depth = 0
  private let mostStates: Int

  /// How many states it has.
  var stateCount: Int { states.count }
  /// The memory that it takes.
  var byteCount: Int { states.count &* MemoryLayout<State>.stride }

  /// - Parameter mostStates: that it may have, beside the bound of every pattern.
  /// - Throws: `CELError` where it is no pattern, has what is not supported, or is over a bound.
  init(_ pattern: [UInt8], mostStates: Int = CELPattern.maximumStates) throws(CELError) {
    self.mostStates = min(mostStates, Self.maximumStates)
    guard pattern.count <= Self.maximumPattern else { throw CELError("a pattern is longer than 1 KiB") }
    self.pattern = pattern
    try alternatives()
    guard at == pattern.count else { throw CELError("a pattern has a bracket too many") }
    try emit(.match)
    self.pattern = []
  }

  private static let tooLarge = CELError(
    "a pattern is too large: it may have 4,096 states, and those of one expression 16,384 together")

  // MARK: Compiling

  private mutating func emit(_ state: State) throws(CELError) {
    guard states.count < mostStates else { throw Self.tooLarge }
    states.append(state)
  }

  private func peek(_ offset: Int = 0) -> UInt8? { at &+ offset < pattern.count ? pattern[at &+ offset] : nil }

  private mutating func alternatives() throws(CELError) {
    depth &+= 1
    defer { depth &-= 1 }
    guard depth <= Self.maximumDepth else { throw CELError("a pattern is more than 32 brackets deep") }
    var ends: [Int] = []
    var start = states.count
    try sequence()
    while peek() == UInt8(ascii: "|") {
      at &+= 1
      // A fork goes in front of the alternative before; its end jumps over those behind.
      try insertFork(at: start)
      try emit(.jump(0))
      ends.append(states.count &- 1)
      states[start] = .fork(start &+ 1, states.count)
      start = states.count
      try sequence()
    }
    for end in ends { states[end] = .jump(states.count) }
  }

  /// Moves the states from there on one up, and what points among them.
  private mutating func insertFork(at place: Int) throws(CELError) {
    try emit(.match)
    for index in stride(from: states.count &- 1, to: place, by: -1) {
      states[index] = Self.moved(states[index &- 1], place)
    }
    states[place] = .fork(place &+ 1, place &+ 1)
  }

  private static func moved(_ state: State, _ place: Int) -> State {
    switch state {
    case .fork(let a, let b): .fork(a >= place ? a &+ 1 : a, b >= place ? b &+ 1 : b)
    case .jump(let to): .jump(to >= place ? to &+ 1 : to)
    default: state
    }
  }

  private mutating func sequence() throws(CELError) {
    while let next = peek(), next != UInt8(ascii: "|"), next != UInt8(ascii: ")") {
      let start = states.count
      try atom()
      try repetition(from: start)
    }
  }

  private mutating func repetition(from start: Int) throws(CELError) {
    while let mark = peek() {
      switch mark {
      case UInt8(ascii: "*"): try `repeat`(from: start, least: 0, most: nil)
      case UInt8(ascii: "+"): try `repeat`(from: start, least: 1, most: nil)
      case UInt8(ascii: "?"): try `repeat`(from: start, least: 0, most: 1)
      case UInt8(ascii: "{"):
        guard let (least, most, length) = counts() else { return }
        at &+= length &- 1
        guard least <= 100, (most ?? least) <= 100, least <= most ?? least else {
          throw CELError("a pattern repeats more than 100 times")
        }
        try `repeat`(from: start, least: least, most: most)
      default: return
      }
      at &+= 1
      // Whether it takes much or little first makes no difference to whether it matches.
      if peek() == UInt8(ascii: "?") { at &+= 1 }
    }
  }

  /// `{n}`, `{n,}` or `{n,m}` from here; nil where it is something else, which stands for itself.
  private func counts() -> (least: Int, most: Int?, length: Int)? {
    guard let close = pattern[at...].firstIndex(of: UInt8(ascii: "}")) else { return nil }
    let inner = String(decoding: pattern[(at &+ 1)..<close], as: UTF8.self)
    let parts = inner.split(separator: ",", maxSplits: 1, omittingEmptySubsequences: false)
    guard let first = parts.first, let least = UInt16(first) else { return nil }
    let length = close &- at &+ 1
    guard parts.count == 2 else { return (Int(least), Int(least), length) }
    if parts[1].isEmpty { return (Int(least), nil, length) }
    guard let most = UInt16(parts[1]) else { return nil }
    return (Int(least), Int(most), length)
  }

  private mutating func `repeat`(from start: Int, least: Int, most: Int?) throws(CELError) {
    let piece = Array(states[start...])
    states.removeSubrange(start...)
    func copy(to states: inout [State]) {
      let shift = states.count &- start
      for state in piece {
        switch state {
        case .fork(let a, let b): states.append(.fork(a &+ shift, b &+ shift))
        case .jump(let to): states.append(.jump(to &+ shift))
        default: states.append(state)
        }
      }
    }
    let copies = max(least, most ?? 0) &+ 1
    guard states.count &+ copies &* (piece.count &+ 2) <= mostStates else { throw Self.tooLarge }
    for _ in 0..<least { copy(to: &states) }
    guard let most else {
      let fork = states.count
      states.append(.match)
      copy(to: &states)
      states.append(.jump(fork))
      states[fork] = .fork(fork &+ 1, states.count)
      return
    }
    var forks: [Int] = []
    for _ in least..<max(most, least) {
      forks.append(states.count)
      states.append(.match)
      copy(to: &states)
    }
    for fork in forks { states[fork] = .fork(fork &+ 1, states.count) }
  }

  private mutating func atom() throws(CELError) {
    guard let byte = peek() else { return }
    at &+= 1
    switch byte {
    case UInt8(ascii: "("):
      if peek() == UInt8(ascii: "?") {
        guard peek(1) == UInt8(ascii: ":") else {
          throw CELError("a pattern has flags or names, which are not supported")
        }
        at &+= 2
      }
      try alternatives()
      guard peek() == UInt8(ascii: ")") else { throw CELError("a pattern has a bracket without its end") }
      at &+= 1
    case UInt8(ascii: "["): try emit(.byte(try bracket()))
    case UInt8(ascii: "."):
      var set = ByteSet()
      set.insert(0x0A)
      set.invert()
      try emit(.byte(set))
    case UInt8(ascii: "^"): try emit(.start)
    case UInt8(ascii: "$"): try emit(.end)
    case UInt8(ascii: "*"), UInt8(ascii: "+"), UInt8(ascii: "?"): throw CELError("a pattern repeats nothing")
    case UInt8(ascii: "\\"): try emit(try escaped())
    default:
      var set = ByteSet()
      set.insert(byte)
      try emit(.byte(set))
    }
  }

  private mutating func escaped() throws(CELError) -> State {
    guard let letter = peek() else { throw CELError("a pattern ends in a backslash") }
    if letter == UInt8(ascii: "A") || letter == UInt8(ascii: "z") {
      at &+= 1
      return letter == UInt8(ascii: "A") ? .start : .end
    }
    return .byte(try escapedSet())
  }

  private mutating func escapedSet() throws(CELError) -> ByteSet {
    guard let letter = peek() else { throw CELError("a pattern ends in a backslash") }
    at &+= 1
    var set = ByteSet()
    switch letter {
    case UInt8(ascii: "d"), UInt8(ascii: "D"): set.insert(UInt8(ascii: "0")...UInt8(ascii: "9"))
    case UInt8(ascii: "w"), UInt8(ascii: "W"):
      set.insert(UInt8(ascii: "0")...UInt8(ascii: "9"))
      set.insert(UInt8(ascii: "a")...UInt8(ascii: "z"))
      set.insert(UInt8(ascii: "A")...UInt8(ascii: "Z"))
      set.insert(UInt8(ascii: "_"))
    case UInt8(ascii: "s"), UInt8(ascii: "S"): for byte: UInt8 in [0x09, 0x0A, 0x0C, 0x0D, 0x20] { set.insert(byte) }
    case UInt8(ascii: "n"): set.insert(0x0A)
    case UInt8(ascii: "r"): set.insert(0x0D)
    case UInt8(ascii: "t"): set.insert(0x09)
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
      UInt8(ascii: "A")...UInt8(ascii: "Z"):
      throw CELError("a pattern has an escape that is not supported")
    default: set.insert(letter)
    }
    if letter == UInt8(ascii: "D") || letter == UInt8(ascii: "W") || letter == UInt8(ascii: "S") { set.invert() }
    return set
  }

  private mutating func bracket() throws(CELError) -> ByteSet {
    var set = ByteSet()
    let isInverted = peek() == UInt8(ascii: "^")
    if isInverted { at &+= 1 }
    var isFirst = true
    while let byte = peek(), byte != UInt8(ascii: "]") || isFirst {
      isFirst = false
      guard !(byte == UInt8(ascii: "[") && peek(1) == UInt8(ascii: ":")) else {
        throw CELError("a pattern has a class that is not supported")
      }
      at &+= 1
      if byte == UInt8(ascii: "\\") {
        set.formUnion(try escapedSet())
      } else if peek() == UInt8(ascii: "-"), let last = peek(1), last != UInt8(ascii: "]") {
        guard byte <= last, last != UInt8(ascii: "\\") else { throw CELError("a range in a pattern is malformed") }
        set.insert(byte...last)
        at &+= 2
      } else {
        set.insert(byte)
      }
    }
    guard peek() == UInt8(ascii: "]") else { throw CELError("a pattern has a bracket without its end") }
    at &+= 1
    if isInverted { set.invert() }
    return set
  }

  // MARK: Matching

  /// Whether the pattern matches anywhere in the text; nil where the text is over the bound.
  ///
  /// - Throws: where the match is over the budget.
  func matches(_ text: [UInt8], _ budget: CELBudget) throws(CELError) -> Bool? {
    guard text.count <= Self.maximumText else { return nil }
    var current: [Int] = []
    var following: [Int] = []
    var marks = [Int](repeating: -1, count: states.count)
    var stack: [Int] = []
    var steps = 0
    for position in 0...text.count {
      // It may begin anywhere.
      var isMatch = false
      func add(_ state: Int) {
        stack.append(state)
        while let next = stack.popLast() {
          steps &+= 1
          guard next < states.count, marks[next] != position else { continue }
          marks[next] = position
          switch states[next] {
          case .byte: current.append(next)
          case .fork(let a, let b):
            stack.append(b)
            stack.append(a)
          case .jump(let to): stack.append(to)
          case .start: if position == 0 { stack.append(next &+ 1) }
          case .end: if position == text.count { stack.append(next &+ 1) }
          case .match: isMatch = true
          }
        }
      }
      current.removeAll(keepingCapacity: true)
      for state in following { add(state) }
      add(0)
      steps &+= current.count
      if steps > 1_000 {
        try budget.work(steps)
        steps = 0
      }
      if isMatch { return true }
      guard position < text.count else { break }
      following.removeAll(keepingCapacity: true)
      for state in current {
        if case .byte(let set) = states[state], set.contains(text[position]) { following.append(state &+ 1) }
      }
    }
    return false
  }
}
