import BulkheadCore
import BulkheadWire
import ProxyWasmABI

/// The foreign functions `expr_create`, `expr_evaluate` and `expr_delete`: CEL over the properties of a stream.
extension PluginHost {
  func createExpression(_ text: UnsafeRawBufferPointer) -> ForeignResult {
    guard foreign.expressions.count < ForeignState.maximumExpressions else {
      warn("expr_create was refused: a plugin has at most \(ForeignState.maximumExpressions) expressions at once")
      return .status(.internalFailure)
    }
    do throws(CELError) {
      let expression = try CELExpression(text)
      guard let token = foreign.add(expression) else {
        warn(
          "expr_create was refused: the expressions of a plugin may take at most "
            + "\(ForeignState.maximumExpressionBytes) bytes at once")
        return .status(.internalFailure)
      }
      return .bytes(withUnsafeBytes(of: token.littleEndian) { Array($0) })
    } catch {
      note("expr_create: \(error.reason)")
      return .status(.badArgument)
    }
  }

  func evaluateExpression(_ argument: UnsafeRawBufferPointer) -> ForeignResult {
    guard let token = Self.token(argument) else { return .status(.badArgument) }
    guard let expression = foreign.expressions[token] else { return .status(.notFound) }
    let evaluator = CELEvaluator(
      expression, budget: CELBudget(isInterrupted: { [services] in services.isInterrupted }),
      property: { [self] path in path.withUnsafeBytes { propertyBytes($0) } },
      type: { [self] path in
        if let type = CELAttributeType(wellKnown: path) { return type }
        return foreign.declared[path]?.isString == true ? .string : .bytes
      })
    do throws(CELError) {
      guard let bytes = try evaluator.value().serialized else { return .status(.serializationFailure) }
      return .bytes(bytes)
    } catch {
      note("expr_evaluate: \(error.reason)")
      return .status(.internalFailure)
    }
  }

  /// Deleting what is not there is no error.
  func deleteExpression(_ argument: UnsafeRawBufferPointer) -> ForeignResult {
    guard let token = Self.token(argument) else { return .status(.badArgument) }
    foreign.removeExpression(token)
    return .status(.ok)
  }

  private static func token(_ argument: UnsafeRawBufferPointer) -> UInt32? {
    argument.count == 4 ? UInt32(littleEndian: argument.loadUnaligned(as: UInt32.self)) : nil
  }

  /// A line for whoever looks for the reason.
  private func note(_ text: String) {
    var copy = text
    copy.withUTF8 { emitLog(.debug, UnsafeRawBufferPointer($0)) }
  }
}
