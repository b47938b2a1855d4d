/// The memory that a worker keeps for one open stream between its callbacks, in bytes: the front counts by it, and the
/// worker holds to it.
///
/// A stream takes at most the sum of
/// - `context`: the object, its places in tables, the properties that the front itself tells, and what of an earlier
///   stream's memory the object has kept for the next one,
/// - `map` of each of its two header maps, and of each of its two trailers that has come,
/// - three times the properties that plugins set: those of the first record, of the latest one, and the plugin's own,
/// - the bytes of bodies that the plugin holds back.
///
/// A plugin that can ask for nothing of a stream after it has let the request's headers pass (`keepsStreams` of the
/// bootstraps) has its streams reduced to `context` there.
public enum KeptBytes {
  /// What a worker keeps for one open stream beside its headers and bodies, in bytes: at most, and counted so.
  public static let context = 4_096
  /// What an object keeps for the next stream of the memory of one header map, of its index, and of a block of properties:
  /// what is more would count for a stream that has not brought it.
  public static let spare = 512

  /// A header map as it came.
  ///
  /// - Parameter block: its serialized pairs.
  @inlinable
  public static func map(block: Int) -> Int { max(block, spare) }

  /// Header maps that the plugin has edited. New names and values go behind the old ones, which are squeezed out where they
  /// are more than the map itself and 4 KiB; memory at most doubles when it grows.
  ///
  /// - Parameters:
  ///   - came: the sum of `map` of all of them as they came.
  ///   - maps: the same of all of them by now.
  ///   - entries: of all of them, each 32 bytes in an index that at most doubles when it grows.
  ///   - edits: the bytes of all names and values of the edits so far.
  @inlinable
  public static func edited(came: Int, maps: Int, entries: Int, edits: Int) -> Int {
    2 &* min(came &+ edits, max(came, 3 &* maps &+ (16 << 10))) &+ 64 &* entries
  }

  /// Properties that plugins set: each may be kept three times, with ten bytes beside it.
  @inlinable
  public static func properties(bytes: Int, count: Int) -> Int { 3 &* (bytes &+ 10 &* count) }
}
