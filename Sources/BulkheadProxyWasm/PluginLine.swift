import BulkheadCore
import BulkheadWire

/// A line of log that a plugin wrote, or its host about it, with what it was written for. It borrows its bytes.
public struct PluginLine {
  /// The level that the plugin gave it.
  public var level: LogLevel
  /// Whether the plugin's code wrote it; else the host did.
  public var isGuest: Bool
  /// The callback that runs.
  public var callback: CallbackKind
  /// The front's number of the stream that hostcalls act upon, `CallbackRecord.noStream` for none.
  public var stream: UInt32
  /// That stream's `x-request-id`, at most `PluginHost.maximumRequestIDBytes` of it; empty where it has none.
  public var request: UnsafeRawBufferPointer
  /// At most `Limits.maximumLogLine` bytes.
  public var message: UnsafeRawBufferPointer
  /// Bytes of the line as it was written.
  public var totalBytes: Int
}
