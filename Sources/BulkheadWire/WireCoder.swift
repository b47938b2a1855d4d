import BulkheadCore

/// A `WireWriter` or a `WireReader`: what a message has, and in which order, stands in one function for both directions. A
/// writer leaves a value as it is, a reader gives it the one that came.
protocol WireCoder: ~Copyable {
  /// What can go wrong: `WireError` for a reader, nothing for a writer.
  associatedtype Failure: Error

  mutating func code(_ value: inout UInt8, _ field: StaticString) throws(Failure)
  mutating func code(_ value: inout UInt16, _ field: StaticString) throws(Failure)
  mutating func code(_ value: inout UInt32, _ field: StaticString) throws(Failure)
  mutating func code(_ value: inout UInt64, _ field: StaticString) throws(Failure)
  /// A byte that is 0 or 1.
  mutating func code(_ value: inout Bool, _ field: StaticString) throws(Failure)
  /// A u32 length and that many bytes of UTF-8.
  mutating func code(_ value: inout String, _ field: StaticString) throws(Failure)
  /// A u32 length and that many bytes.
  mutating func code(_ value: inout [UInt8], _ field: StaticString, atMost limit: Int) throws(Failure)
  /// A u32 count of elements, each of which takes a byte at least.
  mutating func code(count: inout Int, _ field: StaticString, atMost limit: Int) throws(Failure)

  /// Refuses a value that came, unless it is valid. A writer's own values are not looked at.
  func check(_ isValid: @autoclosure () -> Bool, _ code: WireError.Code, _ field: StaticString) throws(Failure)
}

extension WireCoder where Self: ~Copyable {
  mutating func code(_ value: inout [UInt8], _ field: StaticString) throws(Failure) {
    try code(&value, field, atMost: .max)
  }

  /// One of a few values, each of which has a number.
  mutating func code<Value: WireNumbered>(_ value: inout Value, _ field: StaticString) throws(Failure) {
    var number = value.code
    try code(&number, field)
    let known = Value(code: number)
    try check(known != nil, .unknownValue, field)
    if let known { value = known }
  }

  /// A boolean, and the value's number where there is one.
  mutating func code<Value: WireNumbered>(_ value: inout Value?, _ field: StaticString) throws(Failure) {
    var isThere = value != nil
    try code(&isThere, field)
    var number = value?.code ?? 0
    if isThere { try code(&number, field) }
    value = isThere ? Value(code: number) : nil
    try check(isThere == (value != nil), .unknownValue, field)
  }

  /// A boolean, and the text where there is one.
  mutating func code(_ value: inout String?, _ field: StaticString) throws(Failure) {
    var isThere = value != nil
    try code(&isThere, field)
    var text = value ?? ""
    if isThere { try code(&text, field) }
    value = isThere ? text : nil
  }

  /// A count and the texts.
  mutating func code(_ texts: inout [String], _ field: StaticString, atMost limit: Int) throws(Failure) {
    var count = texts.count
    try code(count: &count, field, atMost: limit)
    texts.removeLast(max(texts.count - count, 0))
    for index in 0..<count {
      if index == texts.count { texts.append("") }
      try code(&texts[index], field)
    }
  }

  mutating func code<Value: WireCodable>(_ value: inout Value) throws(Failure) { try value.code(&self) }

  /// A boolean, and the value where there is one.
  mutating func code<Value: WireCodable>(_ value: inout Value?, _ field: StaticString) throws(Failure) {
    var isThere = value != nil
    try code(&isThere, field)
    guard isThere else {
      value = nil
      return
    }
    var inner = value ?? .blank
    try inner.code(&self)
    value = inner
  }

  /// A count and the elements.
  mutating func code<Element: WireCodable>(
    _ elements: inout [Element], _ field: StaticString, atMost limit: Int
  ) throws(Failure) {
    var count = elements.count
    try code(count: &count, field, atMost: limit)
    elements.removeLast(max(elements.count - count, 0))
    for index in 0..<count {
      if index == elements.count { elements.append(.blank) }
      try elements[index].code(&self)
    }
  }

  /// A boolean, and a count and the elements where there is a list of them, which may be empty.
  mutating func code<Element: WireCodable>(
    _ elements: inout [Element]?, _ field: StaticString, atMost limit: Int
  ) throws(Failure) {
    var isThere = elements != nil
    try code(&isThere, field)
    var list = elements ?? []
    if isThere { try code(&list, field, atMost: limit) }
    elements = isThere ? list : nil
  }
}

/// What has a place in messages.
protocol WireCodable {
  /// What a reader begins with.
  static var blank: Self { get }

  /// Writes or reads all that it has.
  mutating func code<Coder: WireCoder & ~Copyable>(_ coder: inout Coder) throws(Coder.Failure)
}

/// One of a few values, which has a number in messages.
protocol WireNumbered {
  var code: UInt8 { get }
  init?(code: UInt8)
}

/// By its place among all of them.
extension WireNumbered where Self: CaseIterable & Equatable, AllCases == [Self] {
  var code: UInt8 { UInt8(truncatingIfNeeded: Self.allCases.firstIndex(of: self) ?? 0) }

  init?(code: UInt8) {
    guard Self.allCases.indices.contains(Int(code)) else { return nil }
    self = Self.allCases[Int(code)]
  }
}

extension FailStrategy: WireNumbered {}
extension OverloadStrategy: WireNumbered {}
extension LogLevel: WireNumbered {
  var code: UInt8 { rawValue }
  init?(code: UInt8) { self.init(rawValue: code) }
}

extension WireWriter: WireCoder {
  mutating func code(_ value: inout UInt8, _ field: StaticString) { u8(value) }
  mutating func code(_ value: inout UInt16, _ field: StaticString) { u16(value) }
  mutating func code(_ value: inout UInt32, _ field: StaticString) { u32(value) }
  mutating func code(_ value: inout UInt64, _ field: StaticString) { u64(value) }
  mutating func code(_ value: inout Bool, _ field: StaticString) { bool(value) }
  mutating func code(_ value: inout String, _ field: StaticString) { string(value) }
  mutating func code(_ value: inout [UInt8], _ field: StaticString, atMost limit: Int) { blob(value) }
  mutating func code(count: inout Int, _ field: StaticString, atMost limit: Int) {
    u32(UInt32(truncatingIfNeeded: count))
  }

  func check(_ isValid: @autoclosure () -> Bool, _ code: WireError.Code, _ field: StaticString) {}
}

extension WireReader: WireCoder {
  mutating func code(_ value: inout UInt8, _ field: StaticString) throws(WireError) { value = try u8(field) }
  mutating func code(_ value: inout UInt16, _ field: StaticString) throws(WireError) { value = try u16(field) }
  mutating func code(_ value: inout UInt32, _ field: StaticString) throws(WireError) { value = try u32(field) }
  mutating func code(_ value: inout UInt64, _ field: StaticString) throws(WireError) { value = try u64(field) }
  mutating func code(_ value: inout Bool, _ field: StaticString) throws(WireError) { value = try bool(field) }
  mutating func code(_ value: inout String, _ field: StaticString) throws(WireError) { value = try string(field) }
  mutating func code(_ value: inout [UInt8], _ field: StaticString, atMost limit: Int) throws(WireError) {
    value = try bytes(field, atMost: limit)
  }

  mutating func code(count: inout Int, _ field: StaticString, atMost limit: Int) throws(WireError) {
    count = Int(try u32(field))
    guard count <= limit else { throw WireError(.tooLarge, field) }
    // A lying count cannot reserve more than the message itself.
    guard count <= remaining else { throw WireError(.truncated, field) }
  }

  func check(_ isValid: @autoclosure () -> Bool, _ code: WireError.Code, _ field: StaticString) throws(WireError) {
    if !isValid() { throw WireError(code, field) }
  }
}
