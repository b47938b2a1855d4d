/// Why a plugin has no say in a stream.
public enum PluginFault: Sendable {
  /// It failed, or is not there: its fail strategy decides.
  case failure
  /// It was not asked for want of room: its policy's `overload` decides.
  case overload
}
