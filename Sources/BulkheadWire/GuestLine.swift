import BulkheadCore

extension ReportFrame {
  /// A line of log that a plugin's own code wrote, with what it ran for; or the beginning of one that takes several frames.
  public struct GuestLine: Equatable, Sendable {
    /// The level that the plugin gave it.
    public var level: LogLevel
    /// `CallbackKind` of the callback that ran; may be any number.
    public var callback: UInt16
    /// The front's number of the stream that it acted upon, `CallbackRecord.noStream` for none.
    public var stream: UInt32
    /// That stream's `x-request-id`, "" where it has none.
    public var request: String
    /// Bytes of the line as the plugin wrote it, those that are not passed on included.
    public var totalBytes: UInt32
    /// The line, or its beginning: UTF-8, if the plugin keeps to it.
    public var message: [UInt8]

    /// A whole line where `totalBytes` is `message`'s count, else the beginning of one.
    public init(
      level: LogLevel, callback: UInt16, stream: UInt32, request: String, totalBytes: UInt32, message: [UInt8]
    ) {
      self.level = level
      self.callback = callback
      self.stream = stream
      self.request = request
      self.totalBytes = totalBytes
      self.message = message
    }
  }
}
