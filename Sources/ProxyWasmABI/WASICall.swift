/// The functions of `wasi_snapshot_preview1`, which `wasi_unstable` has under the same names and types.
public enum WASICall: UInt32, Sendable, CaseIterable {
  /// Arguments, of which there are none, and the environment that the manifest gives.
  case argsGet = 0
  case argsSizesGet = 1
  case environGet = 2
  case environSizesGet = 3
  /// Clocks: 0 is the wall clock, 1 the monotonic one.
  case clockResGet = 4
  case clockTimeGet = 5
  /// Descriptors: 0 to 2 are there, and 1 and 2 write to the log.
  case fdAdvise = 6
  case fdAllocate = 7
  case fdClose = 8
  case fdDatasync = 9
  case fdFdstatGet = 10
  case fdFdstatSetFlags = 11
  case fdFdstatSetRights = 12
  case fdFilestatGet = 13
  case fdFilestatSetSize = 14
  case fdFilestatSetTimes = 15
  case fdPread = 16
  case fdPrestatGet = 17
  case fdPrestatDirName = 18
  case fdPwrite = 19
  case fdRead = 20
  case fdReaddir = 21
  case fdRenumber = 22
  case fdSeek = 23
  case fdSync = 24
  case fdTell = 25
  case fdWrite = 26
  /// Files: there are none, and only `path_open` says so with an error of its own.
  case pathCreateDirectory = 27
  case pathFilestatGet = 28
  case pathFilestatSetTimes = 29
  case pathLink = 30
  case pathOpen = 31
  case pathReadlink = 32
  case pathRemoveDirectory = 33
  case pathRename = 34
  case pathSymlink = 35
  case pathUnlinkFile = 36
  /// Waiting, which never does, and the end of the guest's run.
  case pollOneoff = 37
  case procExit = 38
  case procRaise = 39
  /// Random bytes.
  case randomGet = 40
  /// Leaves the processor to others; does nothing.
  case schedYield = 41
  /// Sockets: there are none.
  case sockAccept = 42
  case sockRecv = 43
  case sockSend = 44
  case sockShutdown = 45

  /// The names of the import modules.
  public static let modules = ["wasi_snapshot_preview1", "wasi_unstable"]

  /// The name of the import.
  public var name: String { Self.rows[Int(rawValue)].name }

  /// The type that a module must import it with.
  public var signature: Signature { Signature(Self.rows[Int(rawValue)].signature) }

  /// One a case, in their order.
  private static let rows: [(name: String, signature: StaticString)] = [
    ("args_get", "ii:i"),
    ("args_sizes_get", "ii:i"),
    ("environ_get", "ii:i"),
    ("environ_sizes_get", "ii:i"),
    ("clock_res_get", "ii:i"),
    ("clock_time_get", "iIi:i"),
    ("fd_advise", "iIIi:i"),
    ("fd_allocate", "iII:i"),
    ("fd_close", "i:i"),
    ("fd_datasync", "i:i"),
    ("fd_fdstat_get", "ii:i"),
    ("fd_fdstat_set_flags", "ii:i"),
    ("fd_fdstat_set_rights", "iII:i"),
    ("fd_filestat_get", "ii:i"),
    ("fd_filestat_set_size", "iI:i"),
    ("fd_filestat_set_times", "iIIi:i"),
    ("fd_pread", "iiiIi:i"),
    ("fd_prestat_get", "ii:i"),
    ("fd_prestat_dir_name", "iii:i"),
    ("fd_pwrite", "iiiIi:i"),
    ("fd_read", "iiii:i"),
    ("fd_readdir", "iiiIi:i"),
    ("fd_renumber", "ii:i"),
    ("fd_seek", "iIii:i"),
    ("fd_sync", "i:i"),
    ("fd_tell", "ii:i"),
    ("fd_write", "iiii:i"),
    ("path_create_directory", "iii:i"),
    ("path_filestat_get", "iiiii:i"),
    ("path_filestat_set_times", "iiiiIIi:i"),
    ("path_link", "iiiiiii:i"),
    ("path_open", "iiiiiIIii:i"),
    ("path_readlink", "iiiiii:i"),
    ("path_remove_directory", "iii:i"),
    ("path_rename", "iiiiii:i"),
    ("path_symlink", "iiiii:i"),
    ("path_unlink_file", "iii:i"),
    ("poll_oneoff", "iiii:i"),
    ("proc_exit", "i:"),
    ("proc_raise", "i:i"),
    ("random_get", "ii:i"),
    ("sched_yield", ":i"),
    ("sock_accept", "iii:i"),
    ("sock_recv", "iiiiii:i"),
    ("sock_send", "iiiii:i"),
    ("sock_shutdown", "ii:i"),
  ]
}
