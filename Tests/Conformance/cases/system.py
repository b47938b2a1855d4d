"""Logging, clocks, timers, randomness, environment, properties, foreign functions, WASI."""

from case import Case, HEADERS_AND_UP

NUMBER = "*"


def between(low, high):
    def check(_run, journal):
        value = int(next(line for line in journal if "time" in line).split(" ")[-1])
        return None if low <= value <= high else f"{value} is not within {low} to {high}"
    return check


def differ(_run, journal):
    lines = [line for line in journal if "random_get 0" in line]
    return None if len(set(lines)) == len(lines) == 2 else f"not random: {lines}"


def refused(*functions):
    """A check that each of these WASI functions said no, whichever error it gave."""
    def check(_run, journal):
        said = dict(line.removeprefix("  wasi:").split(" ")[:2] for line in journal if line.startswith("  wasi:"))
        bad = {name: said.get(name) for name in functions if said.get(name) in (None, "0")}
        return f"not refused: {bad}" if bad else None
    return check


NOW = 1_700_000_000_000_000_000

CASES = [
    # proxy_log
    Case("log.levels", "proxy_log OK", "qh: log 2 'conf-info; log 3 'conf-warn; log 4 'conf-error; log 5 'conf-critical; "
         "log 0 'conf-trace; log 1 'conf-debug", ["log OK"] * 6, log="conf-critical"),
    Case("log.unknown_level", "proxy_log BAD_ARGUMENT", "qh: log 6 'x; log 99 'x", ["log BAD_ARGUMENT"] * 2),
    Case("log.memory", "proxy_log INVALID_MEMORY_ACCESS", "qh: log 4 ! 3", ["log INVALID_MEMORY_ACCESS"]),
    Case("log.empty", "proxy_log OK", "qh: log 4 '", ["log OK"]),
    Case("log.level", "proxy_get_log_level OK", "qh: get_log_level &n", ["get_log_level OK 2"], abi=("0.2.1",)),
    Case("log.level_memory", "proxy_get_log_level INVALID_MEMORY_ACCESS", "qh: get_log_level !",
         ["get_log_level INVALID_MEMORY_ACCESS"], abi=("0.2.1",)),
    Case("log.fd_write", "fd_write SUCCESS", "qh: wasi:fd_write 1 [conf-,out%0a] &n; "
         "wasi:fd_write 2 [conf-err] &n; wasi:fd_write 1 [] &n", ["wasi:fd_write 0 9", "wasi:fd_write 0 8",
                                                                  "wasi:fd_write 0 0"], log="conf-err"),
    Case("log.fd_write_bad", "fd_write BADF", "qh: wasi:fd_write 0 [x] &n; wasi:fd_write 3 [x] &n",
         ["wasi:fd_write 8"] * 2),
    Case("log.fd_write_memory", "fd_write FAULT", "qh: wasi:fd_write 1 ! 1 &n; wasi:fd_write 1 [x] !",
         ["wasi:fd_write 21"] * 2),

    # Clocks.
    Case("time.now", "proxy_get_current_time_nanoseconds OK", "qh: get_current_time_nanoseconds &l",
         ["get_current_time_nanoseconds OK *"], check=between(NOW, 4 * NOW)),
    Case("time.memory", "proxy_get_current_time_nanoseconds INVALID_MEMORY_ACCESS", "qh: get_current_time_nanoseconds !",
         ["get_current_time_nanoseconds INVALID_MEMORY_ACCESS"]),
    Case("time.wasi", "clock_time_get SUCCESS", "qh: wasi:clock_time_get 0 0 &l",
         ["wasi:clock_time_get 0 *"], check=between(NOW, 4 * NOW)),
    Case("time.wasi_monotonic", "clock_time_get SUCCESS", "qh: wasi:clock_time_get 1 0 &l",
         ["wasi:clock_time_get 0 *"]),
    Case("time.wasi_unknown", "clock_time_get NOTSUP", "qh: wasi:clock_time_get 2 0 &l; "
         "wasi:clock_time_get 3 0 &l; wasi:clock_time_get 99 0 &l", ["wasi:clock_time_get 58"] * 3),
    Case("time.wasi_memory", "clock_time_get FAULT", "qh: wasi:clock_time_get 0 0 !",
         ["wasi:clock_time_get 21"]),

    # Timers.
    Case("tick.period", "proxy_set_tick_period_milliseconds OK; proxy_on_tick", "qh: set_tick_period_milliseconds 5| tick2: "
         "set_tick_period_milliseconds 0; log 2 'second", ["set_tick_period_milliseconds OK"] * 2 + ["log OK"],
         until="  log OK"),
    Case("tick.off", "proxy_set_tick_period_milliseconds OK", "qh: set_tick_period_milliseconds 30; "
         "set_tick_period_milliseconds 0", ["set_tick_period_milliseconds OK"] * 2, until="tick*", seconds=0.15,
         check=lambda run, journal: "it ticks" if any(line.startswith("tick") for line in journal) else None),

    # Randomness.
    Case("random.bytes", "random_get SUCCESS", "qh: wasi:random_get &b16 16; wasi:random_get &b16 16", None, check=differ),
    Case("random.too_many", "random_get INVAL", "qh: wasi:random_get &b1 65537; "
         "wasi:random_get &b1 -1", ["wasi:random_get 28"] * 2),
    Case("random.memory", "random_get FAULT", "qh: wasi:random_get ! 16", ["wasi:random_get 21"]),

    # Environment and arguments.
    Case("environment.sizes", "environ_sizes_get SUCCESS", "qh: wasi:environ_sizes_get &n &n",
         ["wasi:environ_sizes_get 0 2 24"]),
    Case("environment.get", "environ_get SUCCESS", "qh: wasi:environ_get &b8 &b24", None,
         check=lambda run, journal: None if any("CONFORMANCE=yes%00" in line and "SECOND=%00" in line
                                                for line in journal) else "the variables are not there"),
    Case("environment.memory", "environ_sizes_get FAULT; environ_get FAULT",
         "qh: wasi:environ_sizes_get ! &n; wasi:environ_sizes_get &n !; wasi:environ_get ! &b24; wasi:environ_get &b8 !",
         ["wasi:environ_sizes_get 21"] * 2 + ["wasi:environ_get 21"] * 2),
    Case("arguments.none", "args_sizes_get SUCCESS; args_get SUCCESS",
         "qh: wasi:args_sizes_get &n &n; wasi:args_get &b4 &b4",
         ["wasi:args_sizes_get 0 0 0", "wasi:args_get 0 *"]),
    Case("arguments.memory", "args_sizes_get FAULT", "qh: wasi:args_sizes_get ! &n; "
         "wasi:args_sizes_get &n !", ["wasi:args_sizes_get 21"] * 2),

    # The rest of WASI.
    Case("wasi.go", "poll_oneoff; fd_prestat_get; sched_yield; path_open", "qh: wasi:poll_oneoff &b48 &b32 1 &n; "
         "wasi:fd_prestat_get 3 &n; wasi:sched_yield; wasi:path_open 3 0 'a 0 0 0 0 &n",
         ["wasi:poll_oneoff 0 *", "wasi:fd_prestat_get 8", "wasi:sched_yield 0", "wasi:path_open 44"],
         check=lambda run, journal: None if any("poll_oneoff 0" in line and line.endswith(" 0") for line in journal)
         else "poll_oneoff has events"),
    Case("wasi.stat", "fd_fdstat_get", "qh: wasi:fd_fdstat_get 1 &b24; wasi:fd_fdstat_get 2 &b24; wasi:fd_fdstat_get 3 "
         "&b24", ["wasi:fd_fdstat_get 0 *", "wasi:fd_fdstat_get 0 *", "wasi:fd_fdstat_get 8"]),
    Case("wasi.files", "fd_advise; fd_allocate; fd_close; fd_datasync; fd_fdstat_set_flags; fd_fdstat_set_rights; "
         "fd_filestat_get; fd_filestat_set_size; fd_filestat_set_times; fd_pread; fd_prestat_dir_name; fd_pwrite; fd_read; "
         "fd_readdir; fd_renumber; fd_seek; fd_sync; fd_tell", "qh: wasi:fd_advise 3 0 0 0; wasi:fd_allocate 3 0 0; "
         "wasi:fd_close 3; wasi:fd_datasync 3; wasi:fd_fdstat_set_flags 3 0; wasi:fd_fdstat_set_rights 3 0 0; "
         "wasi:fd_filestat_get 3 &b64; wasi:fd_filestat_set_size 3 0; wasi:fd_filestat_set_times 3 0 0 0; "
         "wasi:fd_pread 3 [a] 0 &n; wasi:fd_prestat_dir_name 3 &b8 8; wasi:fd_pwrite 3 [a] 0 &n; wasi:fd_read 3 [a] &n; "
         "wasi:fd_readdir 3 &b8 8 0 &n; wasi:fd_renumber 3 4; wasi:fd_seek 3 0 0 &l; wasi:fd_sync 3; wasi:fd_tell 3 &l",
         None, status=200, check=refused("fd_pread", "fd_prestat_dir_name", "fd_pwrite", "fd_read", "fd_readdir", "fd_tell",
                                         "fd_filestat_get"),
         why="which refusal a file that is not there gets is the host's own"),
    Case("wasi.paths", "path_create_directory; path_filestat_get; path_filestat_set_times; path_readlink; "
         "path_remove_directory; path_rename; path_unlink_file", "qh: wasi:path_create_directory 3 'a; "
         "wasi:path_filestat_get 3 0 'a &b64; wasi:path_filestat_set_times 3 0 'a 0 0 0; wasi:path_readlink 3 'a &b8 8 &n; "
         "wasi:path_remove_directory 3 'a; wasi:path_rename 3 'a 3 'b; wasi:path_unlink_file 3 'a", None, status=200,
         check=refused("path_create_directory", "path_filestat_get", "path_filestat_set_times", "path_readlink",
                       "path_remove_directory", "path_rename", "path_unlink_file")),
    Case("wasi.links", "path_link; path_symlink", "qh: wasi:path_link 3 0 'a 3 'b; wasi:path_symlink 'a 3 'b", None, status=200,
         check=refused("path_link", "path_symlink"), envoy={"skip": True}, why="Envoy has these two with a parameter less than WASI, so that a module that imports "
         "them does not load"),
    Case("wasi.sockets", "sock_accept; sock_recv; sock_send; sock_shutdown", "qh: wasi:sock_accept 3 0 &n; wasi:sock_recv 3 "
         "[a] 0 &n &n; wasi:sock_send 3 [a] 0 &n; wasi:sock_shutdown 3 0", None, status=200,
         check=refused("sock_accept", "sock_recv", "sock_send", "sock_shutdown")),
    Case("wasi.clock_res", "clock_res_get", "qh: wasi:clock_res_get 0 &l; wasi:clock_res_get 1 &l; "
         "wasi:clock_res_get 9 &l; wasi:clock_res_get 0 !",
         ["wasi:clock_res_get 0 *", "wasi:clock_res_get 0 *", "wasi:clock_res_get *", "wasi:clock_res_get 21"]),
    Case("wasi.exit", "proc_exit", "qh: exit 3", None, status=503, until="none", seconds=0.1,
         envoy={"status": 200}, why="the specification says that it is never called: here it is a fault of the plugin"),

    # Properties.
    Case("property.plugin", "proxy_get_property OK", "qh: get_property 'plugin_name &s; get_property 'plugin_root_id &s; "
         "get_property 'plugin_vm_id &s", ["get_property OK 'a'", "get_property OK 'a-root'", "get_property OK 'vm-a'"]),
    Case("property.request", "proxy_get_property OK", "qh: get_property 'request%00path &s; get_property "
         "'request%00url_path &s; get_property 'request%00host &s; get_property 'request%00scheme &s; get_property "
         "'request%00method &s; get_property 'request%00protocol &s; get_property 'request%00query &s; get_property "
         "'request%00headers%00x-a &s; get_property 'request%00useragent &s; get_property 'request%00id &s; "
         "get_property 'request%00referer &s",
         ["get_property OK '/p?q=1'", "get_property OK '/p'", "get_property OK 'conformance.test'",
          "get_property OK 'http'", "get_property OK 'GET'", "get_property OK 'HTTP/1.1'", "get_property OK 'q=1'",
          "get_property OK '1'", "get_property OK 'ua'", "get_property OK '*-*-*-*-*'", "get_property OK 'there'"],
         path="/p?q=1", headers=(("x-a", "1"), ("user-agent", "ua"), ("referer", "there"))),
    Case("property.request_numbers", "proxy_get_property OK", "log: get_property 'request%00size &h; get_property "
         "'request%00total_size &h; get_property 'request%00time &h; get_property 'request%00duration &h; get_property "
         "'response%00code &h; get_property 'response%00size &h; get_property 'response%00total_size &h; "
         "get_property 'response%00headers%00content-length &s; get_property 'response%00flags &h; get_property "
         "'response%00grpc_status &h; get_property 'response%00backend_latency &h",
         ["get_property OK %05%00%00%00%00%00%00%00"] + ["get_property OK " + "%*" * 8] * 3 +
         ["get_property OK %c8%00%00%00%00%00%00%00", "get_property OK %05%00%00%00%00%00%00%00",
          "get_property OK " + "%*" * 8, "get_property OK '5'", "get_property OK %00%00%00%00%00%00%00%00", "*", "*"],
         method="POST", body=b"hello"),
    Case("property.connection", "proxy_get_property OK", "qh: get_property 'source%00address &s; get_property 'source%00port "
         "&h; get_property 'destination%00address &s; get_property 'destination%00port &h; get_property 'connection%00id &h; "
         "get_property 'connection%00mtls &h; get_property 'connection_id &h",
         ["get_property OK '127.0.0.1:*'", "get_property OK " + "%*" * 8, "get_property OK '127.0.0.1:*'",
          "get_property OK " + "%*" * 8, "get_property OK " + "%*" * 8, "get_property OK %00",
          "get_property OK " + "%*" * 8]),
    Case("property.tls_absent", "proxy_get_property NOT_FOUND", "qh: get_property 'connection%00tls_version &s; get_property "
         "'connection%00subject_peer_certificate &s; get_property 'connection%00sha256_peer_certificate_digest &s; "
         "get_property 'connection%00dns_san_local_certificate &s; get_property "
         "'connection%00uri_san_peer_certificate &s", ["get_property NOT_FOUND"] * 5),
    Case("property.upstream", "proxy_get_property OK", "log: get_property 'upstream%00address &s; get_property "
         "'upstream%00port &h; get_property 'upstream%00local_address &s; get_property 'upstream%00local_port &h; "
         "get_property 'upstream%00tls_version &s",
         ["get_property OK '127.0.0.1:*'", "get_property OK " + "%*" * 8, "get_property OK '127.0.0.1:*'",
          "get_property OK " + "%*" * 8, "get_property NOT_FOUND"],
         envoy={"ops": ["get_property OK '127.0.0.1:*'", "get_property OK " + "%*" * 8, "get_property OK '127.0.0.1:*'",
                        "get_property NOT_FOUND", "get_property NOT_FOUND"]},
         why="upstream.local_port is in the specification; Envoy does not have it"),
    Case("property.upstream_too_early", "proxy_get_property", "qh: get_property 'upstream%00address &s; get_property "
         "'response%00code &h; get_property 'request%00duration &h", ["get_property NOT_FOUND"] * 3),
    Case("property.maps", "proxy_get_property OK", "qh: get_property 'request%00headers &p| ph: get_property 'response%00headers &p",
         ["get_property OK {*:method=GET*}", "get_property OK {*:status=200*}"]),
    Case("property.envoy", "proxy_get_property", "ph: get_property 'xds%00cluster_name &s", ["get_property OK 'up'"]),
    Case("property.unknown", "proxy_get_property NOT_FOUND", "qh: get_property 'nothing &s; get_property "
         "'request%00nothing &s; get_property 'nothing%00at%00all &s", ["get_property NOT_FOUND"] * 3),
    Case("property.empty_path", "proxy_get_property", "qh: get_property '%00 &s; get_property "
         "'request%00path%00more &s", ["get_property NOT_FOUND"] * 2),
    Case("property.memory", "proxy_get_property INVALID_MEMORY_ACCESS", "qh: get_property ! 3 &s; get_property 'plugin_name "
         "! !", ["get_property INVALID_MEMORY_ACCESS"] * 2),
    Case("property.set", "proxy_set_property OK; proxy_get_property OK", "qh: set_property 'mine 'one; get_property 'mine "
         "&s| ph: get_property 'mine &s; set_property 'mine 'two; get_property 'mine &s",
         ["set_property OK", "get_property OK 'one'", "get_property OK 'one'", "set_property OK",
          "get_property OK 'two'"]),
    Case("property.set_memory", "proxy_set_property INVALID_MEMORY_ACCESS", "qh: set_property ! 3 'x; set_property 'x ! 3",
         ["set_property INVALID_MEMORY_ACCESS"] * 2),
    Case("property.set_known", "proxy_set_property", "qh: set_property 'request%00path '/x; get_property 'request%00path &s; "
         "set_property 'plugin_name 'x; get_property 'plugin_name &s",
         ["set_property *", "get_property OK '/'", "set_property *", "get_property OK 'a'"]),
    Case("property.later_plugin", "proxy_set_property OK; proxy_get_property OK", "qh: set_property 'handed 'over",
         ["set_property OK"], setup="chain", others={"b": "qh: get_property 'handed &s| log: get_property 'handed &s"},
         other_ops={"b": ["get_property OK 'over'"] * 2}),
    Case("property.filter_state", "proxy_get_property", "qh: set_property 'fs 'v; get_property 'filter_state%00wasm.fs &s; "
         "get_property 'filter_state%00fs &s", ["set_property OK", "get_property OK 'v'", "get_property NOT_FOUND"]),
    Case("property.from_root", "proxy_get_property", "qh: set_effective_context @root; get_property 'plugin_name &s; "
         "get_property 'request%00path &s", ["set_effective_context OK", "get_property OK 'a'", "get_property NOT_FOUND"]),

    # Foreign functions.
    Case("foreign.unknown", "proxy_call_foreign_function NOT_FOUND", "qh: call_foreign_function 'nothing 'x &s",
         ["call_foreign_function NOT_FOUND"]),
    Case("foreign.memory", "proxy_call_foreign_function INVALID_MEMORY_ACCESS", "qh: call_foreign_function ! 3 'x &s; "
         "call_foreign_function 'compress ! 3 &s; call_foreign_function 'compress 'x ! !",
         ["call_foreign_function INVALID_MEMORY_ACCESS"] * 3),
    Case("foreign.compress", "proxy_call_foreign_function OK", "qh: call_foreign_function 'compress *1000x &h; "
         "call_foreign_function 'compress ' &h", ["call_foreign_function OK %78%9c*",
                                                   "call_foreign_function OK %78%9c%03%00%00%00%00%01"]),
    Case("foreign.uncompress", "proxy_call_foreign_function OK", "qh: call_foreign_function 'uncompress "
         "'%78%9c%4b%4c%4a%06%00%02%4d%01%27 &s; call_foreign_function 'uncompress 'rubbish &s",
         ["call_foreign_function OK 'abc'", "call_foreign_function SERIALIZATION_FAILURE"]),
    Case("foreign.no_result", "proxy_call_foreign_function OK", "qh: call_foreign_function 'compress 'abc 0 0",
         ["call_foreign_function OK"]),
    Case("foreign.clear_route_cache", "proxy_call_foreign_function OK", "qh: call_foreign_function 'clear_route_cache ' &s",
         ["call_foreign_function OK ''"]),
    Case("foreign.filter_state", "proxy_call_foreign_function OK", "qh: call_foreign_function 'set_envoy_filter_state "
         "'%0a%05my.fs%12%03val &s; get_property 'filter_state%00my.fs &s",
         ["call_foreign_function *", "get_property *"],
         why="Envoy 1.40 knows it only where an object factory of that name is linked in"),
    Case("foreign.declare_property", "proxy_call_foreign_function OK; proxy_set_property", "qh: call_foreign_function "
         "'declare_property '%0a%03ddd%10%01 &s; set_property 'ddd 'text; get_property 'ddd &s",
         ["call_foreign_function OK ''", "set_property OK", "get_property OK 'text'"]),
    Case("foreign.expr", "proxy_call_foreign_function OK", "qh: call_foreign_function 'expr_create 'request.path%20==%20"
         "%22/p%22 &t; call_foreign_function 'expr_evaluate $$ &h; call_foreign_function 'expr_delete $$ &s; "
         "call_foreign_function 'expr_evaluate $$ &h; call_foreign_function 'expr_create '((( &h",
         ["call_foreign_function OK *", "call_foreign_function OK %01", "call_foreign_function OK ''",
          "call_foreign_function NOT_FOUND", "call_foreign_function BAD_ARGUMENT"], path="/p"),
    Case("foreign.expr_string", "proxy_call_foreign_function OK", "qh: call_foreign_function 'expr_create "
         "'request.headers%5b%22x-a%22%5d &t; call_foreign_function 'expr_evaluate $$ &s",
         ["call_foreign_function OK *", "call_foreign_function OK 'one'"], headers=(("x-a", "one"),)),
    Case("foreign.sign", "proxy_call_foreign_function", "qh: call_foreign_function 'sign 'rubbish &s; call_foreign_function "
         "'verify_signature 'rubbish &s", ["call_foreign_function BAD_ARGUMENT"] * 2),
]
