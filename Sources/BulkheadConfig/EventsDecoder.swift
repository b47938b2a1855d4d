import BulkheadCore

/// Reads `events`.
struct EventsDecoder {
  static let keys = ["path", "size"]

  let source: Source

  func decode(_ field: Field) -> Configuration.EventLog? {
    guard let section = field.section(Self.keys) else { return nil }
    let size = section["size"].map { $0.byteCount(Configuration.EventLog.sizes) } ?? Configuration.EventLog.defaultSize
    guard let place = section.required("path", "a file to append to"), place.nonEmptyString() != nil else { return nil }
    let path = ConfigurationDecoder(source: source).decodePath(place, default: "")
    guard !path.isEmpty, let size else { return nil }
    return Configuration.EventLog(path: path, size: size, location: place.location)
  }
}
