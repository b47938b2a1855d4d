import BulkheadCore
import BulkheadProxyWasm
import ProxyWasmABI
import Testing

@Suite struct WASITests {
  /// Every function of `wasi_snapshot_preview1`, as its interface definition has it: a letter a parameter (`i` an i32,
  /// `I` an i64), and whether it gives an error number back. `wasi_unstable` has all but `sock_accept` with the same.
  private static let interface: [String: String] = [
    "args_get": "ii", "args_sizes_get": "ii", "environ_get": "ii", "environ_sizes_get": "ii", "clock_res_get": "ii",
    "clock_time_get": "iIi", "fd_advise": "iIIi", "fd_allocate": "iII", "fd_close": "i", "fd_datasync": "i",
    "fd_fdstat_get": "ii", "fd_fdstat_set_flags": "ii", "fd_fdstat_set_rights": "iII", "fd_filestat_get": "ii",
    "fd_filestat_set_size": "iI", "fd_filestat_set_times": "iIIi", "fd_pread": "iiiIi", "fd_prestat_get": "ii",
    "fd_prestat_dir_name": "iii", "fd_pwrite": "iiiIi", "fd_read": "iiii", "fd_readdir": "iiiIi", "fd_renumber": "ii",
    "fd_seek": "iIii", "fd_sync": "i", "fd_tell": "ii", "fd_write": "iiii", "path_create_directory": "iii",
    "path_filestat_get": "iiiii", "path_filestat_set_times": "iiiiIIi", "path_link": "iiiiiii",
    "path_open": "iiiiiIIii", "path_readlink": "iiiiii", "path_remove_directory": "iii", "path_rename": "iiiiii",
    "path_symlink": "iiiii", "path_unlink_file": "iii", "poll_oneoff": "iiii", "proc_exit": "i", "proc_raise": "i",
    "random_get": "ii", "sched_yield": "", "sock_accept": "iii", "sock_recv": "iiiiii", "sock_send": "iiiii",
    "sock_shutdown": "ii",
  ]

  @Test func everyFunctionHasTheTypeOfTheInterfaceUnderBothModules() {
    #expect(Set(WASICall.allCases.map(\.name)) == Set(Self.interface.keys))
    for call in WASICall.allCases {
      let parameters = call.signature.parameters.map { $0 == .i64 ? "I" : "i" }.joined()
      #expect(parameters == Self.interface[call.name], "\(call.name)")
      #expect(call.signature.results == (call == .procExit ? [] : [.i32]), "\(call.name)")
      for module in ["wasi_snapshot_preview1", "wasi_unstable"] {
        #expect(
          HostImport.all.contains { $0.module == module && $0.name == call.name && $0.function == .wasi(call) })
      }
    }
  }

  @Test func whatIsNotThereIsRefusedAsProgramsExpect() throws {
    let harness = try Harness()
    let out = harness.out
    #expect(harness.wasi(.fdPrestatGet, 3, out) == .badDescriptor)
    #expect(harness.wasi(.fdPrestatDirName, 3, out, 8) == .badDescriptor)
    #expect(harness.wasi(.pathOpen, 3, 0, 0, 0, 0, 0, 0, 0, out) == .noEntry)
    #expect(harness.wasi(.fdRead, 0, 0, 0, out) == .notImplemented)
    #expect(harness.wasi(.fdWrite, 3, 0, 0, out) == .badDescriptor)
    #expect(harness.wasi(.fdFilestatGet, 1, out) == .badDescriptor)
    #expect(harness.wasi(.pathFilestatGet, 3, 0, 0, 0, out) == .notImplemented)
    #expect(harness.wasi(.sockAccept, 3, 0, out) == .notImplemented)
    #expect(harness.wasi(.schedYield) == .success)
    #expect(harness.wasi(.randomGet, out, 65_537) == .invalid)
    #expect(harness.wasi(.randomGet, .max, 8) == .fault)
    #expect(harness.wasi(.clockTimeGet, 2, 0, out) == .notSupported)
  }

  @Test func aPollEndsAtOnceWithoutEventsHoweverOftenItIsMade() throws {
    let harness = try Harness()
    for _ in 0..<1_000 {
      _ = harness.guest.memory.store32(77, at: harness.out)
      #expect(harness.wasi(.pollOneoff, 0, 0, .max, harness.out) == .success)
      #expect(harness.guest.word(harness.out) == 0)
    }
    #expect(harness.wasi(.pollOneoff, 0, 0, 1, .max) == .fault)
  }
}
