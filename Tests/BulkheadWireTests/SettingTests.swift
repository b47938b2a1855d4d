import BulkheadCore
import BulkheadWire
import Testing

/// Each row of the tables of `limits` and `timeouts` in the front's bootstrap.
@Suite struct SettingTests {
  private func roundTrip(_ front: FrontBootstrap) throws -> FrontBootstrap {
    try front.encoded().withUnsafeBytes { try FrontBootstrap($0) }
  }

  private func set<Values: Settings>(_ setting: Setting<Values>, of values: inout Values, toMost: Bool) {
    switch setting.quantity {
    case .count(let path, let range): values[keyPath: path] = toMost ? range.upperBound : range.lowerBound
    case .bytes(let path, let range): values[keyPath: path].bytes = toMost ? range.upperBound : range.lowerBound
    case .time(let path, let range): values[keyPath: path] = toMost ? range.upperBound : range.lowerBound
    }
  }

  @Test(arguments: Bounds.table.indices) func eachLimitComesBack(_ row: Int) throws {
    for toMost in [false, true] {
      var front = MessageTests.front
      set(Bounds.table[row], of: &front.bounds, toMost: toMost)
      #expect(try roundTrip(front) == front)
    }
  }

  @Test(arguments: Timeouts.table.indices) func eachTimeoutComesBack(_ row: Int) throws {
    for toMost in [false, true] {
      var front = MessageTests.front
      set(Timeouts.table[row], of: &front.timeouts, toMost: toMost)
      #expect(try roundTrip(front) == front)
    }
  }

  @Test func whatDoesNotFitIsTheMostThatDoes() throws {
    var front = MessageTests.front
    front.bounds.connections = -1
    front.bounds.headerBytes = ByteCount(bytes: .max)
    front.timeouts.idle = .seconds(Int64.max)
    let back = try roundTrip(front)
    #expect(back.bounds.connections == 0 && back.bounds.headerBytes.bytes == .max)
    #expect(back.timeouts.idle == .nanoseconds(Int64.max))
  }
}
