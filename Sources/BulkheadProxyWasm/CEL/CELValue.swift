import BulkheadCore
import ProxyWasmABI

/// A value of a CEL expression (Common Expression Language), as far as expressions over a stream's attributes need it.
enum CELValue: Equatable {
  case null
  case bool(Bool)
  case int(Int64)
  case uint(UInt64)
  case double(Double)
  /// UTF-8, not checked: header values are what they are.
  case string([UInt8])
  case bytes([UInt8])
  /// ns.
  case duration(Int64)
  /// ns since 1970.
  case timestamp(Int64)
  case list([CELValue])
  case map([CELEntry])

  /// The largest string or block of bytes that an expression may make.
  static let maximumBytes = 1 << 20

  static func string(_ text: String) -> CELValue { .string(Array(text.utf8)) }

  /// What a plugin is handed: as a property of that type is encoded.
  ///
  /// - Returns: nil where the value has no encoding.
  var serialized: [UInt8]? {
    switch self {
    case .null: return nil
    case .bool(let value): return PropertyValue.bytes(value)
    case .int(let value), .duration(let value), .timestamp(let value): return PropertyValue.bytes(value)
    case .uint(let value): return PropertyValue.bytes(value)
    case .double(let value): return PropertyValue.bytes(value)
    case .string(let value), .bytes(let value): return value
    case .list(let elements): return Self.pairs(elements.map { ($0, nil) })
    case .map(let entries): return Self.pairs(entries.map { ($0.key, $0.value) })
    }
  }

  private static func pairs(_ pairs: [(CELValue, CELValue?)]) -> [UInt8]? {
    var block: [(name: [UInt8], value: [UInt8])] = []
    var size = 0
    for (first, second) in pairs {
      guard let name = first.serialized else { return nil }
      var value: [UInt8] = []
      if let second {
        guard let bytes = second.serialized else { return nil }
        value = bytes
      }
      size &+= name.count &+ value.count
      guard size <= maximumBytes else { return nil }
      block.append((name, value))
    }
    return PluginHost.serialized(block)
  }
}

/// An entry of a map.
struct CELEntry: Equatable {
  var key: CELValue
  var value: CELValue
}

extension CELValue {
  /// Whether two values are equal; numbers of different types are compared as numbers, what cannot be compared differs.
  ///
  /// - Throws: where the comparison is over the budget.
  static func areEqual(_ left: CELValue, _ right: CELValue, _ budget: CELBudget) throws(CELError) -> Bool {
    if let order = try order(left, right, budget) { return order == 0 }
    switch (left, right) {
    case (.null, .null): return true
    case (.list(let a), .list(let b)):
      guard a.count == b.count else { return false }
      for (first, second) in zip(a, b) where !(try areEqual(first, second, budget)) { return false }
      return true
    case (.map(let a), .map(let b)):
      guard a.count == b.count else { return false }
      for entry in a where !(try has(b, entry, budget)) { return false }
      return true
    default: return false
    }
  }

  private static func has(_ entries: [CELEntry], _ wanted: CELEntry, _ budget: CELBudget) throws(CELError) -> Bool {
    for entry in entries where try areEqual(entry.key, wanted.key, budget) {
      if try areEqual(entry.value, wanted.value, budget) { return true }
    }
    return false
  }

  /// -1, 0 or 1; nil where the two have no order.
  ///
  /// - Throws: where the comparison is over the budget.
  static func order(_ left: CELValue, _ right: CELValue, _ budget: CELBudget) throws(CELError) -> Int? {
    try budget.work(1)
    switch (left, right) {
    case (.bool(let a), .bool(let b)): return rank(a ? 1 : 0, b ? 1 : 0)
    case (.int(let a), .int(let b)), (.duration(let a), .duration(let b)), (.timestamp(let a), .timestamp(let b)):
      return rank(a, b)
    case (.uint(let a), .uint(let b)): return rank(a, b)
    case (.int(let a), .uint(let b)): return a < 0 ? -1 : rank(UInt64(a), b)
    case (.uint(let a), .int(let b)): return b < 0 ? 1 : rank(a, UInt64(b))
    case (.string(let a), .string(let b)), (.bytes(let a), .bytes(let b)), (.string(let a), .bytes(let b)),
      (.bytes(let a), .string(let b)):
      try budget.work(min(a.count, b.count))
      return a.lexicographicallyPrecedes(b) ? -1 : a == b ? 0 : 1
    default:
      guard let a = left.asDouble, let b = right.asDouble, !a.isNaN, !b.isNaN else { return nil }
      return rank(a, b)
    }
  }

  private static func rank<T: Comparable>(_ a: T, _ b: T) -> Int { a < b ? -1 : a == b ? 0 : 1 }

  private var asDouble: Double? {
    switch self {
    case .int(let value): Double(value)
    case .uint(let value): Double(value)
    case .double(let value): value
    default: nil
    }
  }
}
