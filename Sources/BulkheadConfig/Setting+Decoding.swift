import BulkheadCore

extension Setting {
  /// Reads the key's value; one that is none, or out of bounds, is reported and sets nothing.
  func decode(_ field: Field, into values: inout Values) {
    switch quantity {
    case .count(let path, let range): if let count = field.integer(range) { values[keyPath: path] = count }
    case .bytes(let path, let range): if let bytes = field.byteCount(range) { values[keyPath: path] = bytes }
    case .time(let path, let range): if let time = field.duration(range) { values[keyPath: path] = time }
    }
  }

  /// The value as the file could say it.
  func text(of values: Values) -> String {
    switch quantity {
    case .count(let path, _): "\(values[keyPath: path])"
    case .bytes(let path, _): values[keyPath: path].yaml
    case .time(let path, _): Field.text(values[keyPath: path])
    }
  }
}
