"""Bodies: streaming, pausing, replacing, bounds."""

from case import Case, HEADERS_AND_UP, lines_match

EMPTY = "the specification has NOT_FOUND for a buffer that is not there; Envoy takes some for empty ones"
POST = {"method": "POST", "body": b"hello"}
PIECES = {"method": "POST", "body": [b"ab", b"cd", b"ef"]}
BIG = b"x" * 200_000


def callbacks_of(labels, *patterns):
    """A check that the callbacks with these labels are those, in that order."""
    def check(_run, journal):
        found = [line for line in journal if line.split(" ")[0] in labels.split(" ")]
        return None if lines_match(patterns, found) else f"callbacks: expected {patterns}, got {found}"
    return check


CASES = [
    Case("body.get", "proxy_get_buffer_bytes OK", "qb1: get_buffer_bytes 0 0 99 &s; get_buffer_bytes 0 1 3 &s; "
         "get_buffer_bytes 0 5 5 &s; get_buffer_bytes 0 99 5 &s; get_buffer_bytes 0 0 0 &s; get_buffer_bytes 0 3 -4 &s",
         ["get_buffer_bytes OK 'hello'", "get_buffer_bytes OK 'ell'", "get_buffer_bytes OK ''",
          "get_buffer_bytes OK ''", "get_buffer_bytes OK ''", "get_buffer_bytes OK 'lo'"], **POST),
    Case("body.get_response", "proxy_get_buffer_bytes OK", "pb1: get_buffer_bytes 1 0 99 &s",
         ["get_buffer_bytes OK 'hello'"]),
    Case("body.get_overflow", "proxy_get_buffer_bytes BAD_ARGUMENT", "qb1: get_buffer_bytes 0 3 -1 &s; "
         "get_buffer_bytes 0 -1 2 &s", ["get_buffer_bytes BAD_ARGUMENT"] * 2,
         envoy={"ops": ["get_buffer_bytes OK 'lo'", "get_buffer_bytes OK ''"]},
         why="the specification has BAD_ARGUMENT where start and size overflow; Envoy adds them in 64 bits", **POST),
    Case("body.get_unknown", "proxy_get_buffer_bytes BAD_ARGUMENT", "qb1: get_buffer_bytes 9 0 5 &s; "
         "get_buffer_bytes 99 0 5 &s", ["get_buffer_bytes BAD_ARGUMENT"] * 2, **POST),
    Case("body.get_absent", "proxy_get_buffer_bytes NOT_FOUND", "qh: get_buffer_bytes 0 0 5 &s; get_buffer_bytes 1 0 5 "
         "&s; get_buffer_bytes 2 0 5 &s; get_buffer_bytes 3 0 5 &s; get_buffer_bytes 4 0 5 &s; "
         "get_buffer_bytes 5 0 5 &s; get_buffer_bytes 8 0 5 &s", ["get_buffer_bytes NOT_FOUND"] * 7,
         envoy={"ops": ["get_buffer_bytes OK ''"] * 4 + ["get_buffer_bytes NOT_FOUND"] + ["get_buffer_bytes OK ''"] * 2},
         why=EMPTY, **POST),
    Case("body.get_memory", "proxy_get_buffer_bytes INVALID_MEMORY_ACCESS", "qb1: get_buffer_bytes 0 0 5 ! !; "
         "oom 1; get_buffer_bytes 0 0 5 &s; oom 0", ["get_buffer_bytes INVALID_MEMORY_ACCESS"] * 2, **POST),
    Case("body.configurations_at_run_time", "proxy_get_buffer_bytes", "qh: get_buffer_bytes 6 0 99 &s; "
         "get_buffer_bytes 7 0 99 &s", None),
    Case("body.status", "proxy_get_buffer_status OK", "qb1: get_buffer_status 0 &n &n",
         ["get_buffer_status OK 5 0"], **POST),
    Case("body.status_unknown", "proxy_get_buffer_status BAD_ARGUMENT", "qb1: get_buffer_status 9 &n &n",
         ["get_buffer_status BAD_ARGUMENT"], **POST),
    Case("body.status_absent", "proxy_get_buffer_status NOT_FOUND", "qh: get_buffer_status 0 &n &n; "
         "get_buffer_status 1 &n &n; get_buffer_status 4 &n &n", ["get_buffer_status NOT_FOUND"] * 3,
         envoy={"ops": ["get_buffer_status OK 0 0"] * 2 + ["get_buffer_status NOT_FOUND"]}, why=EMPTY, **POST),
    Case("body.status_memory", "proxy_get_buffer_status INVALID_MEMORY_ACCESS", "qb1: get_buffer_status 0 ! &n; "
         "get_buffer_status 0 &n !", ["get_buffer_status INVALID_MEMORY_ACCESS"] * 2, **POST),

    # set_buffer_bytes
    Case("body.replace", "proxy_set_buffer_bytes OK", "qh: remove_header_map_value 0 'content-length| qb1: "
         "set_buffer_bytes 0 0 99 'goodbye; get_buffer_bytes 0 0 99 &s",
         ["remove_header_map_value OK", "set_buffer_bytes OK", "get_buffer_bytes OK 'goodbye'"],
         sent={"body": b"goodbye"}, **POST),
    Case("body.replace_same_length", "proxy_set_buffer_bytes OK", "qb1: set_buffer_bytes 0 0 5 'HELLO",
         ["set_buffer_bytes OK"], sent={"body": b"HELLO"}, **POST),
    Case("body.prepend", "proxy_set_buffer_bytes OK", "qh: remove_header_map_value 0 'content-length| qb1: "
         "set_buffer_bytes 0 0 0 'ab", ["remove_header_map_value OK", "set_buffer_bytes OK"],
         sent={"body": b"abhello"}, **POST),
    Case("body.append", "proxy_set_buffer_bytes OK", "qh: remove_header_map_value 0 'content-length| qb1: "
         "set_buffer_bytes 0 5 0 'ab; set_buffer_bytes 0 -1 -1 'cd; get_buffer_status 0 &n &n",
         ["remove_header_map_value OK", "set_buffer_bytes OK", "set_buffer_bytes OK", "get_buffer_status OK 9 0"],
         sent={"body": b"helloabcd"}, **POST),
    Case("body.inject", "proxy_set_buffer_bytes OK", "qb1: set_buffer_bytes 0 2 0 'ab; "
         "set_buffer_bytes 0 2 1 'b; set_buffer_bytes 0 0 3 'abc", ["set_buffer_bytes OK"] * 3, sent={"body": b"abcbllo"},
         envoy={"ops": ["set_buffer_bytes BAD_ARGUMENT"] * 2 + ["set_buffer_bytes OK"], "sent": {"body": b"abclo"}},
         why="the specification has injecting and replacing anywhere; Envoy does it at the start alone", **POST),
    Case("body.empty", "proxy_set_buffer_bytes OK", "qh: remove_header_map_value 0 'content-length| qb1: "
         "set_buffer_bytes 0 0 5 '", ["remove_header_map_value OK", "set_buffer_bytes OK"], sent={"body": b""}, **POST),
    Case("body.set_unknown", "proxy_set_buffer_bytes BAD_ARGUMENT", "qb1: set_buffer_bytes 9 0 5 'ab",
         ["set_buffer_bytes BAD_ARGUMENT"], **POST),
    Case("body.set_absent", "proxy_set_buffer_bytes NOT_FOUND", "qh: set_buffer_bytes 0 0 5 'ab; set_buffer_bytes 1 0 5 "
         "'ab; set_buffer_bytes 4 0 5 'ab", ["set_buffer_bytes NOT_FOUND"] * 3,
         envoy={"ops": ["set_buffer_bytes BAD_ARGUMENT"] * 2 + ["set_buffer_bytes NOT_FOUND"]}, why=EMPTY, **POST),
    Case("body.set_memory", "proxy_set_buffer_bytes INVALID_MEMORY_ACCESS", "qb1: set_buffer_bytes 0 0 5 ! 5",
         ["set_buffer_bytes INVALID_MEMORY_ACCESS"], sent={"body": b"hello"}, **POST),
    Case("body.set_response", "proxy_set_buffer_bytes OK", "ph: remove_header_map_value 2 'content-length| pb1: "
         "set_buffer_bytes 1 0 5 'goodbye", ["remove_header_map_value OK", "set_buffer_bytes OK"],
         answer_body=b"goodbye"),
    Case("body.set_response_end", "proxy_set_buffer_bytes OK", "ph: remove_header_map_value 2 'content-length| pbe: "
         "set_buffer_bytes 1 -1 0 '!!", ["remove_header_map_value OK", "set_buffer_bytes OK"],
         answer_body=b"abcd!!", upstream={"chunks": ["ab", "cd"], "before_end": 0.03}),
    Case("body.read_only_buffers", "proxy_set_buffer_bytes", "qh: set_buffer_bytes 6 0 5 'ab; set_buffer_bytes 7 0 5 'ab",
         None),

    # Pausing.
    Case("body.pause", "proxy_on_request_body", "qbm: pause| qbe: get_buffer_bytes 0 0 99 &s",
         ["get_buffer_bytes OK 'abcdef'"], check=callbacks_of("qb", "qb s0 2 0", "qb s0 4 0", "qb s0 6 0", "qb s0 6 1"),
         sent={"body": b"abcdef"}, **PIECES),
    Case("body.pause_and_replace", "proxy_on_request_body; proxy_set_buffer_bytes OK",
         "qbm: pause| qbe: set_buffer_bytes 0 0 99 'all", ["set_buffer_bytes OK"], sent={"body": b"all"}, **PIECES),
    Case("body.pause_and_edit_early", "proxy_on_request_body; proxy_set_buffer_bytes OK",
         "qbm: set_buffer_bytes 0 0 0 '-; pause| qbe: get_buffer_bytes 0 0 99 &s",
         ["set_buffer_bytes OK"] * 3 + ["get_buffer_bytes OK '---abcdef'"], sent={"body": b"---abcdef"}, **PIECES),
    Case("body.pause_response", "proxy_on_response_body", "ph: remove_header_map_value 2 'content-length| pbm: pause| "
         "pbe: get_buffer_bytes 1 0 99 &s; set_buffer_bytes 1 0 99 'all",
         ["remove_header_map_value OK", "get_buffer_bytes OK 'abcdef'", "set_buffer_bytes OK"], answer_body=b"all",
         upstream={"chunks": ["ab", "cd", "ef"], "before_end": 0.03}),
    Case("body.pause_and_continue", "proxy_continue_stream OK; proxy_on_tick",
         "qbm: pause| qbe: set_tick_period_milliseconds 5; pause| tick1: set_tick_period_milliseconds 0; "
         "set_effective_context @stream; get_buffer_bytes 0 0 99 &s; continue_stream 0",
         ["set_tick_period_milliseconds OK", "set_tick_period_milliseconds OK", "set_effective_context OK",
          "get_buffer_bytes OK *", "continue_stream OK"], abi=HEADERS_AND_UP, status=200, sent={"body": b"hello"}, **POST),
    Case("body.pause_response_and_continue", "proxy_continue_stream OK", "pbm: pause| pbe: set_tick_period_milliseconds 5; pause| "
         "tick1: set_tick_period_milliseconds 0; set_effective_context @stream; continue_stream 1",
         ["set_tick_period_milliseconds OK", "set_tick_period_milliseconds OK", "set_effective_context OK",
          "continue_stream OK"], abi=HEADERS_AND_UP, status=200, answer_body=b"hello"),
    Case("body.pause_response_and_continue_0_1_0", "proxy_continue_response", "pbm: pause| pbe: set_tick_period_milliseconds 5; "
         "pause| tick1: set_tick_period_milliseconds 0; set_effective_context @stream; continue_response",
         ["set_tick_period_milliseconds OK", "set_tick_period_milliseconds OK", "set_effective_context OK",
          "continue_response OK"], abi=("0.1.0",), status=200, answer_body=b"hello"),
    Case("body.headers_pause_stops_the_body", "proxy_on_request_headers; proxy_continue_stream OK",
         "qh: set_tick_period_milliseconds 40; pause| tick1: set_tick_period_milliseconds 0; set_effective_context "
         "@stream; continue_stream 0", None, abi=HEADERS_AND_UP, sent={"body": b"hello"},
         check=callbacks_of("qh tick qb", "qh s0 * 0", "tick root", "qb s0 5 1"), **POST),
    Case("body.too_large", "proxy_on_request_body", "qb: pause", None, setup="bounded", method="POST", body=BIG,
         status=413),
    Case("body.too_large_response", "proxy_on_response_body", "pb: pause", None, setup="bounded", status=500,
         upstream={"size": 200_000}, envoy={"status": 200, "broken": True},
         why="Envoy has sent the response's head before the body outgrows the bound, and resets"),
    Case("body.large_streams", "proxy_on_request_body; proxy_on_response_body", "qh:", None, setup="bounded",
         method="POST", body=BIG, status=200, sent={"body": BIG}, answer_body=b"x" * 300_000,
         upstream={"size": 300_000}),

    # content-length.
    Case("length.kept", "proxy_on_request_body", "qb: get_buffer_status 0 &n &n| pb: get_buffer_status 1 &n &n", None,
         sent={"headers": {"content-length": "5"}}, answer_headers={"content-length": "5"}, **POST),
    Case("length.removed", "proxy_set_buffer_bytes OK", "qh: remove_header_map_value 0 'content-length| qbe: "
         "set_buffer_bytes 0 -1 0 '!", None, sent={"body": b"hello!"}, **POST),
    Case("length.wrong", "proxy_set_buffer_bytes OK", "qb1: set_buffer_bytes 0 0 99 'much%20longer%20than%20it%20was",
         ["set_buffer_bytes OK"], **POST),
    Case("length.replaced", "proxy_set_buffer_bytes OK", "qh: replace_header_map_value 0 'content-length '7| qb1: "
         "set_buffer_bytes 0 0 99 'goodbye", ["replace_header_map_value OK", "set_buffer_bytes OK"],
         sent={"body": b"goodbye"}, **POST),
    # Header edits in a body callback, where the head is still here.
    Case("body.edits_headers_while_held", "proxy_on_request_body; proxy_add_header_map_value",
         "qh: set_tick_period_milliseconds 0| qbe: add_header_map_value 0 'x-late '1", None, **POST),
]
