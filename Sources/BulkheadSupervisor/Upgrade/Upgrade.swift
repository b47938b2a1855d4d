/// What a supervisor has of the programs before and after it.
enum Upgrade {
  /// What is executed, and how it is checked before.
  struct Program {
    /// The newly installed `bulkheadd`.
    var path: String
    /// This process's own command line.
    var arguments: [String]
    /// The file that this process executes, whatever is installed over it; nil where it could not be opened.
    var image: SharedDescriptor?
    var options: SupervisorOptions
    /// Descriptors that came with the start and are kept as they are.
    var inherited: [Int32]
  }

  /// Whom to go back to where this program does not come to serve, until that is decided.
  struct Kept {
    var value: Origin
    /// Closed with it.
    var descriptors: [SharedDescriptor]
  }
}
