/// The type of one parameter or result of a function of the ABI.
public enum ABIValue: Sendable, Equatable {
  /// The value types of WebAssembly that the ABI uses, by their names there.
  case i32
  case i64
  case f64
}

/// A function's parameters and results.
public struct Signature: Sendable, Equatable {
  /// In their order.
  public var parameters: [ABIValue]
  /// One or none.
  public var results: [ABIValue]

  /// A function of these parameters and results.
  public init(_ parameters: [ABIValue], _ results: [ABIValue]) {
    self.parameters = parameters
    self.results = results
  }

  /// From a text such as `iIi:i`: `i` is an i32, `I` an i64, `d` an f64, results stand after the colon.
  init(_ text: StaticString) {
    var parameters: [ABIValue] = []
    var results: [ABIValue] = []
    var afterColon = false
    text.withUTF8Buffer { bytes in
      for index in bytes.indices {
        switch unsafe bytes[index] {
        case UInt8(ascii: ":"): afterColon = true
        case UInt8(ascii: "I"): if afterColon { results.append(.i64) } else { parameters.append(.i64) }
        case UInt8(ascii: "d"): if afterColon { results.append(.f64) } else { parameters.append(.f64) }
        default: if afterColon { results.append(.i32) } else { parameters.append(.i32) }
        }
      }
    }
    self.init(parameters, results)
  }
}
