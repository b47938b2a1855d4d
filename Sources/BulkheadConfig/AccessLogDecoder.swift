import BulkheadCore

/// Reads `accessLog`.
struct AccessLogDecoder {
  /// What every line has, whatever the configuration says.
  static let standardFields = [
    "start_time", "listener", "client", "protocol", "request_id", "method", "authority", "path", "status", "bytes_in",
    "bytes_out", "duration_us", "upstream", "endpoint", "flags", "details", "failure",
  ]
  static let maximumFields = 64
  static let keys = ["path", "fields"]

  let source: Source

  func decode(_ field: Field) -> Configuration.AccessLog? {
    guard let section = field.section(Self.keys) else { return nil }
    let target = section.required("path", "a file to append to, or stdout").flatMap(target)
    let fields = section["fields"].map(fields) ?? []
    return target.map { Configuration.AccessLog(target: $0, fields: fields, location: field.location) }
  }

  private func target(_ field: Field) -> Configuration.AccessLog.Target? {
    guard let text = field.nonEmptyString() else { return nil }
    if text == "stdout" { return .standardOutput }
    let path = ConfigurationDecoder(source: source).decodePath(field, default: "")
    return path.isEmpty ? nil : .file(path)
  }

  private func fields(_ field: Field) -> [AccessLogField] {
    guard let section = field.openSection() else { return [] }
    if section.entries.count > Self.maximumFields { field.report("at most \(Self.maximumFields) fields are possible") }
    return section.fields.prefix(Self.maximumFields).compactMap { name, field in
      guard !Self.standardFields.contains(name) else {
        field.report("every line has the field '\(name)' already: choose another name")
        return nil
      }
      guard let property = field.nonEmptyString() else { return nil }
      guard property.utf8.count <= 1_024, !property.utf8.contains(0) else {
        field.report("must be a property's path with dots, for example request.headers.user-agent, at most 1024 bytes")
        return nil
      }
      return AccessLogField(name: name, property: property)
    }
  }
}
