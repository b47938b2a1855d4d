import BulkheadCore
import Testing

@testable import BulkheadConfig

/// Each row of the tables of `limits` and `timeouts`, in the file and in what `bulkheadctl config` shows.
@Suite struct SettingTests {
  private func load(_ section: String, _ key: String, _ value: String) throws -> Configuration {
    try Tree(["bulkhead.yaml": Tree.listeners + "\(section): {\(key): \(value)}\n"]).load().configuration
  }

  private func shown(_ configuration: Configuration, _ key: String) -> String? {
    configuration.settings.first { $0.key == key }?.value
  }

  /// The bounds of a row, as the file says them, and what is past them.
  private func values<Values: Settings>(_ setting: Setting<Values>) -> (least: String, most: String, over: String) {
    switch setting.quantity {
    case .count(_, let range): ("\(range.lowerBound)", "\(range.upperBound)", "\(range.upperBound + 1)")
    case .bytes(_, let range): ("\(range.lowerBound)", "\(range.upperBound)", "\(range.upperBound + 1)")
    case .time(_, let range):
      (Field.text(range.lowerBound), Field.text(range.upperBound), Field.text(range.upperBound + .seconds(1)))
    }
  }

  private func check<Values: Settings>(
    _ section: String, _ setting: Setting<Values>, _ part: (Configuration) -> Values
  ) throws {
    let values = values(setting)
    let key = "\(section).\(setting.name)"
    for value in [values.least, values.most] {
      let configuration = try load(section, setting.name, value)
      var expected = Values()
      switch setting.quantity {
      case .count(let path, _): expected[keyPath: path] = try #require(Int(value))
      case .bytes(let path, _): expected[keyPath: path] = ByteCount(bytes: try #require(UInt64(value)))
      case .time(let path, let range):
        expected[keyPath: path] = value == values.least ? range.lowerBound : range.upperBound
      }
      #expect(part(configuration) == expected, "\(key): \(value)")
      // What is shown could be said.
      let text = try #require(shown(configuration, key))
      #expect(try part(load(section, setting.name, text)) == expected, "\(key): \(text)")
    }
    #expect(throws: ConfigurationErrors.self, "\(key): \(values.over)") {
      try load(section, setting.name, values.over)
    }
  }

  @Test(arguments: Bounds.table.indices) func eachLimitIsReadWithinItsBoundsAndShown(_ row: Int) throws {
    try check("limits", Bounds.table[row], \.bounds)
  }

  @Test(arguments: Timeouts.table.indices) func eachTimeoutIsReadWithinItsBoundsAndShown(_ row: Int) throws {
    try check("timeouts", Timeouts.table[row], \.timeouts)
  }
}
