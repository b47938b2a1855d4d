import BulkheadWire

/// What a reply asks for, checked as a whole before any of it is done. It borrows the reply's bytes.
struct PluginOutcome {
  let flags: ReplyRecord.Flags
  let editCount: Int
  /// The bytes of all keys and values of the edits.
  let editBytes: Int
  private let edits: WireReader
  let localResponse: LocalResponse?

  /// Takes the rest of a reply.
  ///
  /// - Throws: `WireError` where an edit or the local response is malformed, or bytes are left over.
  init(_ reply: inout ReplyRecord) throws(WireError) {
    flags = reply.flags
    editCount = reply.editCount
    edits = reply.rest
    var reader = reply.rest
    var bytes = 0
    for _ in 0..<reply.editCount {
      let edit = try HeaderEdit(&reader)
      bytes &+= edit.key.count &+ edit.value.count
      if edit.operation == .set { _ = try PairsView(edit.value) }
    }
    editBytes = bytes
    localResponse = flags.contains(.localResponse) ? try LocalResponse(&reader) : nil
    try reader.end("reply")
  }

  /// Calls `body` with each edit in order.
  func forEachEdit(_ body: (HeaderEdit) -> Void) {
    var reader = edits
    for _ in 0..<editCount {
      // They were read once without an error; the bytes are private, so nothing has changed since.
      guard let edit = try? HeaderEdit(&reader) else { return }
      body(edit)
    }
  }
}
