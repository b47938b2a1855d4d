import BulkheadCore
import BulkheadSystem

extension LayerReport {
  /// Runs the steps of one layer: it holds where all went through, and the first error says why where not.
  static func of(
    _ layer: IsolationLayer, _ steps: () throws(SystemError) -> String
  ) -> LayerReport {
    do throws(SystemError) {
      return LayerReport(layer: layer, holds: true, why: try steps())
    } catch {
      return LayerReport(layer: layer, holds: false, why: "\(error)")
    }
  }
}
