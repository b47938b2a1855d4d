import BulkheadConfig
import BulkheadCore
import BulkheadSystem
import BulkheadWire

/// The program that executes another in its place, and what it needs to go on as it was where the other does not come to
/// serve: its binaries, which others may have been installed over, its command line, and the configuration as it was read.
struct Origin: Equatable, Sendable {
  /// A file that may be executed, and where it was found.
  struct Binary: Equatable, Sendable {
    var path: String
    var descriptor: Int32
  }

  /// More of the configuration is not kept: bytes.
  static let maximumConfiguration = 16 << 20
  static let maximumArguments = 1_024
  static let maximumFiles = 65_536

  var supervisor: Binary
  var front: Binary
  var worker: Binary
  var compiler: Binary
  var shippedPolicies: String
  var arguments: [String]
  var files: ConfigurationFiles

  var descriptors: [Int32] { [supervisor, front, worker, compiler].map(\.descriptor) }

  /// Whether the configuration is small enough to be kept.
  var fits: Bool {
    files.texts.reduce(0) { $0 + $1.key.utf8.count + $1.value.utf8.count } <= Self.maximumConfiguration
      && files.directories.values.reduce(0) { $0 + $1.count } <= Self.maximumFiles
      && arguments.count <= Self.maximumArguments
  }

  /// What it has the program itself execute.
  var program: String { "/proc/self/fd/\(supervisor.descriptor)" }

  /// Where the other binaries are; the descriptors stay the origin's.
  ///
  /// - Throws: `SystemError` where the process has no descriptors left.
  func installation() throws(SystemError) -> Installation {
    Installation(
      front: try Executable(pinned: front), worker: try Executable(pinned: worker),
      compiler: try Executable(pinned: compiler), shippedPolicies: shippedPolicies)
  }

  func encode(into writer: inout WireWriter) {
    for binary in [supervisor, front, worker, compiler] {
      writer.string(binary.path)
      writer.i32(binary.descriptor)
    }
    writer.string(shippedPolicies)
    writer.array(arguments) { $0.string($1) }
    writer.array(files.texts.sorted { $0.key < $1.key }) { writer, file in
      writer.string(file.key)
      writer.string(file.value)
    }
    writer.array(files.directories.sorted { $0.key < $1.key }) { writer, directory in
      writer.string(directory.key)
      writer.array(directory.value) { $0.string($1) }
    }
  }

  init(_ reader: inout WireReader) throws(WireError) {
    supervisor = try Binary(&reader)
    front = try Binary(&reader)
    worker = try Binary(&reader)
    compiler = try Binary(&reader)
    shippedPolicies = try reader.string("origin.shippedPolicies")
    arguments = try reader.array("origin.arguments", atMost: Self.maximumArguments) { reader throws(WireError) in
      try reader.string("origin.argument")
    }
    let texts = try reader.array("origin.files", atMost: Self.maximumFiles) { reader throws(WireError) in
      (try reader.string("file.path"), try reader.string("file.text"))
    }
    let directories = try reader.array("origin.directories", atMost: Self.maximumFiles) { reader throws(WireError) in
      (
        try reader.string("directory.path"),
        try reader.array("directory.files", atMost: Self.maximumFiles) { reader throws(WireError) in
          try reader.string("directory.file")
        }
      )
    }
    files = ConfigurationFiles(
      texts: Dictionary(texts, uniquingKeysWith: { first, _ in first }),
      directories: Dictionary(directories, uniquingKeysWith: { first, _ in first }))
  }

  init(
    supervisor: Binary, front: Binary, worker: Binary, compiler: Binary, shippedPolicies: String, arguments: [String],
    files: ConfigurationFiles
  ) {
    self.supervisor = supervisor
    self.front = front
    self.worker = worker
    self.compiler = compiler
    self.shippedPolicies = shippedPolicies
    self.arguments = arguments
    self.files = files
  }
}

extension Origin.Binary {
  fileprivate init(_ reader: inout WireReader) throws(WireError) {
    self.init(path: try reader.string("binary.path"), descriptor: try reader.descriptor("binary.descriptor"))
  }

  fileprivate init?(_ executable: Executable) {
    guard let pinned = executable.pinned else { return nil }
    self.init(path: executable.path, descriptor: pinned)
  }
}

extension Supervisor {
  /// Whom the next program in this one's place goes back to: the one that served last. Nil where that could not go on.
  var origin: Origin? {
    if let origin = upgrader.originOfBefore { return origin }
    let installation = setup.installation
    guard let image = setup.program.image, let front = Origin.Binary(installation.front),
      let worker = Origin.Binary(installation.worker), let compiler = Origin.Binary(installation.compiler)
    else { return nil }
    let origin = Origin(
      supervisor: .init(path: setup.program.path, descriptor: image.raw), front: front, worker: worker,
      compiler: compiler, shippedPolicies: installation.shippedPolicies, arguments: setup.program.arguments,
      files: reloader.loaded.files)
    return origin.fits ? origin : nil
  }
}
