/// A seccomp profile that cannot be used.
public struct SeccompError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The file that the profile came from.
  public var file: String
  /// Where in it, for example `syscalls[3].args[0].op`; "" where it is about the whole file.
  public var place: String
  /// What is wrong, and where known what to write instead.
  public var reason: String

  /// `place` is "" where the whole file is meant.
  public init(file: String, place: String, reason: String) {
    self.file = file
    self.place = place
    self.reason = reason
  }

  public var description: String { place.isEmpty ? "\(file): \(reason)" : "\(file): \(place): \(reason)" }
}
