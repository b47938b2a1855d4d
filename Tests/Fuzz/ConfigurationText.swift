import BulkheadConfig

/// The texts of bulkhead.yaml, a policy and a manifest: whatever they hold, there is a value, or there are errors that say
/// where.
enum ConfigurationText {
  static func check(_ input: UnsafeRawBufferPointer) {
    guard let first = input.first else { return }
    let text = String(decoding: input.dropFirst(), as: UTF8.self)
    var files = ConfigurationFiles(
      texts: ["/c/bulkhead.yaml": "listeners: [{name: e, address: '127.0.0.1:1', upstream: echo}]\n"],
      directories: ["/c/plugins.d": [], "/c/policies": []])
    switch first % 3 {
    case 0: files.texts["/c/bulkhead.yaml"] = text
    case 1:
      files.directories["/c/plugins.d"] = ["a.yaml"]
      files.texts["/c/plugins.d/a.yaml"] = text
    default:
      files.directories["/c/policies"] = ["a.yaml"]
      files.texts["/c/policies/a.yaml"] = text
    }
    let (loaded, errors) = ConfigurationLoader.inspect(path: "/c/bulkhead.yaml", files: files)
    hold(loaded != nil || !errors.isEmpty, "a configuration that is none has no error")
    for error in errors { hold(!"\(error)".isEmpty, "an error says nothing") }
  }
}
