import BulkheadCore
import Testing

/// The tables of `limits` and `timeouts`.
@Suite struct SettingTests {
  /// Whether the least and the most can be set, and what holds without being said lies between them.
  private func check<Values: Settings>(_ setting: Setting<Values>) {
    let standard = Values()
    switch setting.quantity {
    case .count(let path, let range): #expect(range.contains(standard[keyPath: path]), "\(setting.key)")
    case .bytes(let path, let range): #expect(range.contains(standard[keyPath: path].bytes), "\(setting.key)")
    case .time(let path, let range): #expect(range.contains(standard[keyPath: path]), "\(setting.key)")
    }
  }

  private func check<Values: Settings>(_ values: Values.Type) {
    // The properties in their order, each under its own name: none is without a row.
    #expect(Values.table.map(\.name) == Mirror(reflecting: Values()).children.map { $0.label ?? "" })
    for setting in Values.table { check(setting) }
  }

  @Test func eachPropertyHasARowOfItsNameAndADefaultWithinItsBounds() {
    check(Bounds.self)
    check(Timeouts.self)
  }

  @Test func eachRowSetsThePropertyOfItsName() {
    for setting in Bounds.table {
      var bounds = Bounds()
      switch setting.quantity {
      case .count(let path, _): bounds[keyPath: path] += 1
      case .bytes(let path, _): bounds[keyPath: path].bytes += 1
      case .time(let path, _): bounds[keyPath: path] += .seconds(1)
      }
      #expect(changes(Bounds(), bounds) == [setting.name])
    }
    for setting in Timeouts.table {
      var timeouts = Timeouts()
      if case .time(let path, _) = setting.quantity { timeouts[keyPath: path] += .seconds(1) }
      #expect(changes(Timeouts(), timeouts) == [setting.name])
    }
  }

  private func changes<Values>(_ old: Values, _ new: Values) -> [String] {
    zip(Mirror(reflecting: old).children, Mirror(reflecting: new).children).compactMap { old, new in
      "\(old.value)" == "\(new.value)" ? nil : old.label
    }
  }
}
