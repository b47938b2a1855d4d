/// The descriptors that a child finds at its start, by number; nothing else is open.
///
/// 0 and 1 are `/dev/null`, 2 is a pipe for raw text (a runtime's last words), 3 is the report pipe (`ReportFrame`s).
public enum ChildDescriptor {
  /// Where a child writes what is for nobody but people: the supervisor's log takes it line by line.
  public static let standardError: Int32 = 2
  /// The pipe on which a child reports to the supervisor, in frames (`ReportFrame`).
  public static let report: Int32 = 3
  /// A sealed memfd with the encoded bootstrap of the role.
  public static let bootstrap: Int32 = 4

  /// What the front finds open at its start, behind those that all children have.
  public enum Front {
    /// SOCK_SEQPACKET to the supervisor: `ControlMessage`s with descriptors.
    public static let control: Int32 = 5
    /// The listening sockets, one a listener, in the order of the bootstrap; where there is an access log, its file follows.
    public static let firstListener: Int32 = 6
  }

  /// What a worker finds open at its start, behind those that all children have.
  public enum Worker {
    /// The compiled module, read-only.
    public static let module: Int32 = 5
    /// The channel's memfd.
    public static let channel: Int32 = 6
    /// The write end of the liveness pipe that the front reads.
    public static let liveness: Int32 = 7
    /// The read end of a pipe that only the supervisor holds open for writing.
    public static let lifeline: Int32 = 8
    /// The doorbell (the write end of a pipe) of the front's first event loop; the others follow.
    public static let firstDoorbell: Int32 = 9
  }

  /// What the compiler finds open at its start, behind those that all children have.
  public enum Compiler {
    /// The untrusted module, read-only.
    public static let input: Int32 = 5
    /// The file that the compiled module is written to.
    public static let output: Int32 = 6
  }
}
