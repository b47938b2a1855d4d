/// The files of a configuration as they were read: with them it can be read again as it was, whatever has become of them.
/// Modules are not among them.
public struct ConfigurationFiles: Hashable, Sendable {
  /// By absolute path.
  public var texts: [String: String]
  /// The names of the YAML files in each directory that was there, by its absolute path.
  public var directories: [String: [String]]

  /// Files and directories that were read already, by their paths.
  public init(texts: [String: String] = [:], directories: [String: [String]] = [:]) {
    self.texts = texts
    self.directories = directories
  }
}

/// Reads the files of one configuration: from disk, and keeps them; or those that were kept.
final class FileReader {
  /// What was read.
  private(set) var kept = ConfigurationFiles()
  /// What is read in place of what is on disk.
  private let earlier: ConfigurationFiles?

  init(earlier: ConfigurationFiles? = nil) { self.earlier = earlier }

  /// The text of a regular file.
  func text(_ path: String) throws(FileAccess.Failure) -> String {
    let text: String
    if let earlier {
      guard let known = earlier.texts[path] else { throw Self.missing }
      text = known
    } else {
      text = try FileAccess.text(path)
    }
    kept.texts[path] = text
    return text
  }

  /// The files of a directory that are read.
  func listing(of directory: String) throws(FileAccess.Failure) -> FileAccess.Listing {
    let listing: FileAccess.Listing
    if let earlier {
      guard let names = earlier.directories[directory] else { throw Self.missing }
      listing = FileAccess.Listing(files: names)
    } else {
      listing = try FileAccess.listing(of: directory)
    }
    kept.directories[directory] = listing.files
    return listing
  }

  private static var missing: FileAccess.Failure {
    FileAccess.Failure(code: FileAccess.notThere, message: "was not there when the configuration was read")
  }
}
