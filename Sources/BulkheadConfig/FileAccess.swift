import Glibc

/// What this target does with the file system: read small files, list directories.
enum FileAccess {
  /// The largest file that is read, in bytes.
  static let maximumFile = 1 << 20
  /// The most files of one directory.
  static let maximumFiles = 10_000
  /// The code of what is not there.
  static let notThere = ENOENT

  struct Failure: Error {
    /// The errno; 0 where the system is not why.
    var code: Int32
    /// As it follows the file's name.
    var message: String
    /// In the file, from 1.
    var line: Int?
    var column: Int?

    /// Whether it is there and this process may not use it.
    var isPermission: Bool { code == EACCES || code == EPERM }
  }

  /// The text of a regular file.
  static func text(_ path: String) throws(Failure) -> String {
    // O_NONBLOCK, so that a FIFO in the directory does not hold us up before fstat tells that it is one.
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw failure("cannot be opened") }
    defer { close(descriptor) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw failure("cannot be read") }
    guard status.st_mode & S_IFMT == S_IFREG else { throw Failure(code: 0, message: "is not a regular file") }
    var bytes = [UInt8](repeating: 0, count: maximumFile + 1)
    var count = 0
    while count < bytes.count {
      let result = bytes.withUnsafeMutableBytes { buffer in
        read(descriptor, buffer.baseAddress.map { $0 + count }, buffer.count - count)
      }
      if result == 0 { break }
      if result < 0 {
        if errno == EINTR { continue }
        throw failure("cannot be read")
      }
      count += result
    }
    guard count <= maximumFile else { throw Failure(code: 0, message: "is larger than 1 MiB") }
    do throws(TextDecoding.Failure) {
      return try TextDecoding.text(bytes[..<count])
    } catch {
      throw Failure(code: 0, message: error.message, line: error.line, column: error.column)
    }
  }

  /// The first bytes of a regular file, at most so many; nil where it cannot be read.
  static func beginning(of path: String, atMost limit: Int) -> [UInt8]? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: limit)
    let count = read(descriptor, &bytes, limit)
    return count < 0 ? nil : Array(bytes.prefix(count))
  }

  /// What a directory holds.
  struct Listing {
    /// The names of its YAML files, sorted; hidden ones are left out.
    var files: [String] = []
    /// Names that look as if they were meant to be among them.
    var lookalikes: [String] = []
  }

  /// The files of a directory that are read, and those that somebody may take for such.
  static func listing(of directory: String) throws(Failure) -> Listing {
    guard let stream = opendir(directory) else { throw failure("cannot be opened") }
    defer { closedir(stream) }
    var listing = Listing()
    while true {
      errno = 0
      guard let entry = readdir(stream) else {
        guard errno == 0 else { throw failure("cannot be read") }
        listing.files.sort { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        listing.lookalikes.sort { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        return listing
      }
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { raw in
        String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self)
      }
      guard !name.hasPrefix(".") else { continue }
      if name.hasSuffix(".yaml") || name.hasSuffix(".yml") {
        listing.files.append(name)
      } else if looksLikeYAML(name), listing.lookalikes.count < maximumFiles {
        listing.lookalikes.append(name)
      }
      guard listing.files.count <= maximumFiles else {
        throw Failure(code: 0, message: "holds more than \(maximumFiles) YAML files")
      }
    }
  }

  /// JSON is YAML, `.YAML` is no `.yaml`, and some editors add `.txt`. What was renamed to be left out, such as
  /// `geo.yaml.disabled` or `geo.yaml~`, is nobody's mistake.
  private static func looksLikeYAML(_ name: String) -> Bool {
    let name = name.lowercased()
    return [".json", ".yaml", ".yml", ".yaml.txt", ".yml.txt"].contains { name.hasSuffix($0) }
  }

  /// Nil where a regular file is there that this process may read, else why not.
  static func whyUnreadable(_ path: String) -> Failure? {
    var status = stat()
    guard stat(path, &status) == 0 else { return failure("cannot be read") }
    guard status.st_mode & S_IFMT == S_IFREG else { return Failure(code: 0, message: "is not a regular file") }
    return access(path, R_OK) == 0 ? nil : failure("cannot be read")
  }

  private static let names: [Int32: String] = [
    EACCES: "EACCES", EINVAL: "EINVAL", EIO: "EIO", EISDIR: "EISDIR", ELOOP: "ELOOP", EMFILE: "EMFILE",
    ENAMETOOLONG: "ENAMETOOLONG", ENFILE: "ENFILE", ENOENT: "ENOENT", ENOMEM: "ENOMEM", ENOTDIR: "ENOTDIR",
    ENXIO: "ENXIO", EPERM: "EPERM", ESTALE: "ESTALE",
  ]

  private static func failure(_ what: String) -> Failure {
    let code = errno
    let text = strerror(code).map { String(cString: $0) } ?? "unknown error"
    let name = names[code] ?? "errno \(code)"
    return Failure(code: code, message: "\(what): \(text) (\(name))")
  }
}

/// Paths, as text.
enum Path {
  static func directory(of path: String) -> String {
    guard let slash = path.lastIndex(of: "/") else { return "." }
    return slash == path.startIndex ? "/" : String(path[..<slash])
  }

  /// The absolute path of `path`, which starts from `directory` where it is relative. Its directory is free of links,
  /// where it exists, so that `..` means what the kernel takes it for.
  static func absolute(_ path: String, from directory: String) -> String {
    var joined = path.hasPrefix("/") ? path : "\(directory)/\(path)"
    while joined.count > 1, joined.hasSuffix("/") { joined.removeLast() }
    let name = joined.split(separator: "/").last.map(String.init) ?? ""
    guard !name.isEmpty, name != ".", name != ".." else { return resolved(joined) ?? lexical(joined) }
    guard let parent = resolved(self.directory(of: joined)) else { return lexical(joined) }
    return parent == "/" ? "/\(name)" : "\(parent)/\(name)"
  }

  private static func resolved(_ path: String) -> String? {
    guard !path.utf8.contains(0), let real = realpath(path, nil) else { return nil }
    defer { free(real) }
    return String(cString: real)
  }

  private static func lexical(_ path: String) -> String {
    var parts: [Substring] = []
    var absolute = path
    if !path.hasPrefix("/"), let directory = resolved(".") { absolute = "\(directory)/\(path)" }
    for part in absolute.split(separator: "/") where part != "." {
      if part == ".." { _ = parts.popLast() } else { parts.append(part) }
    }
    return "/" + parts.joined(separator: "/")
  }
}
