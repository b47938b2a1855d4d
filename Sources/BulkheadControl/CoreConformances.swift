import BulkheadCore

// In JSON each is the string that Core gives it. The conformances stand here, so that Core, which the worker links, stays
// free of coding.
extension PluginState: Codable {}
extension FailStrategy: Codable {}
extension ExitReason: Codable {}
extension IsolationLayer: Codable {}
extension LayerReport.Evidence: Codable {}
