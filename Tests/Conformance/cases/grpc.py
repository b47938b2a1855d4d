"""gRPC calls, unary and streaming, and their four callbacks; the other side is Tests/Peers/grpc_server.py."""

from case import Case, HEADERS_AND_UP

RESUME = "set_effective_context @stream; continue_stream 0"
PEER = "'test.Peer"


def unary(method, message="'hi", timeout=2000, metadata="{}", upstream="'grpc"):
    return f"grpc_call {upstream} {PEER} '{method} {metadata} {message} {timeout} &n0"


def stream(method):
    return f"grpc_stream 'grpc {PEER} '{method} {{}} &n0"


def grpc_lines(*patterns):
    """A check that the callbacks of the call are those."""
    from case import lines_match

    def check(_run, journal):
        found = [line for line in journal if line.split(" ")[0] in ("gi", "gm", "gt", "gc")]
        return None if lines_match(patterns, found) else f"callbacks: expected {patterns}, got {found}"
    return check


CASES = [
    Case("grpc.unary", "proxy_grpc_call OK; proxy_on_grpc_receive; proxy_get_buffer_bytes OK",
         f"qh: {unary('Unary')}; pause| gm: get_buffer_bytes 5 0 99 &s; get_buffer_status 5 &n &n; {RESUME}",
         ["grpc_call OK *", "get_buffer_bytes OK 'echo:hi'", "get_buffer_status OK 7 0", "set_effective_context OK",
          "continue_stream OK"], abi=HEADERS_AND_UP, status=200),
    Case("grpc.unary_0_1_0", "proxy_grpc_call OK; proxy_on_grpc_receive; proxy_get_buffer_bytes OK",
         f"qh: {unary('Unary')}; pause| gm: get_buffer_bytes 5 0 99 &s; set_effective_context @stream; continue_request",
         ["grpc_call OK *", "get_buffer_bytes OK 'echo:hi'", "set_effective_context OK", "continue_request OK"],
         abi=("0.1.0",), status=200),
    Case("grpc.unary_metadata", "proxy_grpc_call OK; proxy_on_grpc_receive",
         f"qh: {unary('Metadata', metadata='{x-sent=1}')}; pause| gm: get_buffer_bytes 5 0 999 &s; {RESUME}",
         ["grpc_call OK *", "get_buffer_bytes OK '*x-sent=1*'", "set_effective_context OK", "continue_stream OK"],
         abi=HEADERS_AND_UP, status=200),
    # A unary call is answered by one callback, as in Envoy: a message, or the end without one.
    Case("grpc.unary_callbacks", "proxy_on_grpc_receive", f"qh: {unary('Unary')}; pause| gm: {RESUME}", None,
         abi=HEADERS_AND_UP, status=200, check=grpc_lines("gm $0 7")),
    Case("grpc.unary_failure_callbacks", "proxy_on_grpc_close", f"qh: {unary('Fail')}; pause| gc: {RESUME}", None,
         abi=HEADERS_AND_UP, status=200, check=grpc_lines("gc $0 5")),
    Case("grpc.unary_fails", "proxy_on_grpc_close; proxy_get_status OK", f"qh: {unary('Fail')}; pause| gc: "
         f"get_status &n &s; {RESUME}", ["grpc_call OK *", "get_status OK 5 'no such thing: hi*'",
                                         "set_effective_context OK", "continue_stream OK"], abi=HEADERS_AND_UP,
         status=200),
    Case("grpc.unary_unknown_method", "proxy_on_grpc_close", f"qh: {unary('Nothing')}; pause| gc: get_status &n &s; "
         f"{RESUME}", ["grpc_call OK *", "get_status OK 12 *", "set_effective_context OK", "continue_stream OK"],
         abi=HEADERS_AND_UP, status=200),
    Case("grpc.unary_timeout", "proxy_on_grpc_close", f"qh: {unary('Slow', timeout=60)}; pause| gc: get_status &n &s; "
         f"{RESUME}", ["grpc_call OK *", "get_status OK 4 *", "set_effective_context OK", "continue_stream OK"],
         abi=HEADERS_AND_UP, status=200,
         envoy={"ops": ["grpc_call OK *", "get_status OK * *", "set_effective_context OK", "continue_stream OK"]},
         why="a timeout is DEADLINE_EXCEEDED (4); Envoy says UNAVAILABLE (14) where its own timer is first"),
    Case("grpc.unary_refused", "proxy_on_grpc_close; proxy_grpc_call", f"qh: {unary('Unary', upstream=chr(39) + 'dead')}; "
         f"pause| gc: get_status &n &s; {RESUME}", ["grpc_call OK *", "get_status OK 14 *", "set_effective_context OK",
                                                    "continue_stream OK"], abi=HEADERS_AND_UP, status=200),
    Case("grpc.unknown_upstream", "proxy_grpc_call PARSE_FAILURE; proxy_grpc_stream PARSE_FAILURE", "qh: grpc_call "
         f"'nowhere {PEER} 'Unary {{}} 'x 100 &n; grpc_stream 'nowhere {PEER} 'Bidi {{}} &n",
         ["grpc_call PARSE_FAILURE", "grpc_stream PARSE_FAILURE"], status=200),
    Case("grpc.call_memory", "proxy_grpc_call INVALID_MEMORY_ACCESS; proxy_grpc_stream INVALID_MEMORY_ACCESS",
         f"qh: grpc_call ! 4 {PEER} 'Unary {{}} 'x 100 &n; grpc_call 'grpc ! 4 'Unary {{}} 'x 100 &n; grpc_call 'grpc {PEER} "
         f"! 4 {{}} 'x 100 &n; grpc_call 'grpc {PEER} 'Unary ! 9 'x 100 &n; grpc_call 'grpc {PEER} 'Unary {{}} ! 4 100 &n; "
         f"grpc_stream ! 4 {PEER} 'Bidi {{}} &n; grpc_stream 'grpc {PEER} ! 4 {{}} &n",
         ["grpc_call INVALID_MEMORY_ACCESS"] * 5 + ["grpc_stream INVALID_MEMORY_ACCESS"] * 2, status=200),
    Case("grpc.cancel", "proxy_grpc_cancel OK NOT_FOUND", f"qh: {unary('Slow')}; grpc_cancel $0; grpc_cancel $0; "
         "grpc_cancel 987654", ["grpc_call OK *", "grpc_cancel OK", "grpc_cancel NOT_FOUND", "grpc_cancel NOT_FOUND"],
         status=200, check=grpc_lines()),
    Case("grpc.close_call", "proxy_grpc_close OK NOT_FOUND", f"qh: {unary('Slow')}; grpc_close $0; grpc_close 987654",
         ["grpc_call OK *", "grpc_close OK", "grpc_close NOT_FOUND"], status=200),
    Case("grpc.stream", "proxy_grpc_stream OK; proxy_grpc_send OK; proxy_on_grpc_receive; "
         "proxy_on_grpc_receive_initial_metadata; proxy_on_grpc_receive_trailing_metadata; proxy_on_grpc_close",
         f"qh: {stream('Bidi')}; grpc_send $0 'one 0; grpc_send $0 'two 1; pause| gm: get_buffer_bytes 5 0 99 &s| gc: "
         f"get_status &n &s; {RESUME}",
         ["grpc_stream OK *", "grpc_send OK", "grpc_send OK", "get_buffer_bytes OK 'echo:one'",
          "get_buffer_bytes OK 'echo:two'", "get_status OK 0 '*'", "set_effective_context OK", "continue_stream OK"],
         abi=HEADERS_AND_UP, status=200, check=grpc_lines("gi $0 *", "gm $0 8", "gm $0 8", "gt $0 *", "gc $0 0")),
    Case("grpc.stream_0_1_0", "proxy_grpc_stream OK; proxy_grpc_send OK; proxy_on_grpc_receive; "
         "proxy_on_grpc_receive_initial_metadata; proxy_on_grpc_receive_trailing_metadata; proxy_on_grpc_close",
         f"qh: {stream('Bidi')}; grpc_send $0 'one 0; grpc_send $0 'two 1; pause| gc: set_effective_context @stream; "
         "continue_request", None, abi=("0.1.0",), status=200,
         check=grpc_lines("gi $0 *", "gm $0 8", "gm $0 8", "gt $0 *", "gc $0 0")),
    Case("grpc.stream_metadata", "proxy_on_grpc_receive_initial_metadata; proxy_on_grpc_receive_trailing_metadata",
         f"qh: {stream('Unary')}; grpc_send $0 'x 1; pause| gi: get_header_map_value 4 'x-initial &s| gt: "
         f"get_header_map_value 5 'x-trailing &s| gc: {RESUME}",
         ["grpc_stream OK *", "grpc_send OK", "get_header_map_value OK 'one'", "get_header_map_value OK 'two'",
          "set_effective_context OK", "continue_stream OK"], abi=HEADERS_AND_UP, status=200),
    Case("grpc.server_stream", "proxy_on_grpc_receive", f"qh: {stream('ServerStream')}; grpc_send $0 '3%2020000 1; pause| "
         f"gc: {RESUME}", None, abi=HEADERS_AND_UP, status=200,
         check=grpc_lines("gi $0 *", "gm $0 20000", "gm $0 20000", "gm $0 20000", "gt $0 *", "gc $0 0")),
    Case("grpc.client_stream", "proxy_grpc_send OK; proxy_grpc_close OK", f"qh: {stream('ClientStream')}; grpc_send $0 'a "
         f"0; grpc_send $0 'b 0; grpc_send $0 'c 1; pause| gm: get_buffer_bytes 5 0 99 &s| gc: {RESUME}",
         ["grpc_stream OK *"] + ["grpc_send OK"] * 3 + ["get_buffer_bytes OK 'a,b,c'", "set_effective_context OK",
                                                        "continue_stream OK"], abi=HEADERS_AND_UP, status=200),
    Case("grpc.stream_fails", "proxy_on_grpc_close; proxy_get_status OK", f"qh: {stream('Bidi')}; grpc_send $0 'fail 0; "
         f"pause| gc: get_status &n &s; {RESUME}", ["grpc_stream OK *", "grpc_send OK", "get_status OK 8 'told to*'",
                                                    "set_effective_context OK", "continue_stream OK"],
         abi=HEADERS_AND_UP, status=200),
    Case("grpc.send_unknown", "proxy_grpc_send NOT_FOUND", "qh: grpc_send 987654 'x 0", ["grpc_send NOT_FOUND"]),
    Case("grpc.send_on_a_call", "proxy_grpc_send BAD_ARGUMENT", f"qh: {unary('Slow')}; grpc_send $0 'x 0; grpc_cancel $0",
         ["grpc_call OK *", "grpc_send BAD_ARGUMENT", "grpc_cancel OK"]),
    Case("grpc.other_token", "proxy_grpc_send BAD_ARGUMENT; proxy_grpc_cancel BAD_ARGUMENT; proxy_grpc_close BAD_ARGUMENT",
         "qh: http_call 'up {:method=GET,:path=/call,:authority=c} ' {} 1000 &n0; grpc_send $0 'x 0; grpc_cancel $0; "
         "grpc_close $0", ["http_call OK *", "grpc_send BAD_ARGUMENT", "grpc_cancel BAD_ARGUMENT",
                           "grpc_close BAD_ARGUMENT"]),
    Case("grpc.send_memory", "proxy_grpc_send INVALID_MEMORY_ACCESS", f"qh: {stream('Bidi')}; grpc_send $0 ! 3 0; "
         "grpc_cancel $0", ["grpc_stream OK *", "grpc_send INVALID_MEMORY_ACCESS", "grpc_cancel OK"]),
    Case("grpc.send_after_end", "proxy_grpc_send", f"qh: {stream('Bidi')}; grpc_send $0 'x 1; grpc_send $0 'y 0", None),
    Case("grpc.cancel_stream", "proxy_grpc_cancel OK", f"qh: {stream('Bidi')}; grpc_send $0 'x 0; grpc_cancel $0; "
         "grpc_send $0 'y 0", ["grpc_stream OK *", "grpc_send OK", "grpc_cancel OK", "grpc_send NOT_FOUND"]),
    Case("grpc.close_stream", "proxy_grpc_close OK", f"qh: {stream('Bidi')}; grpc_send $0 'x 0; pause| gm1: grpc_close $0; "
         f"{RESUME}", None, abi=HEADERS_AND_UP, status=200),
]
