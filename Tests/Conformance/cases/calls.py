"""proxy_http_call and its answers."""

from case import Case, HEADERS_AND_UP

CALL = "{:method=GET,:path=/call,:authority=call.test}"
FAILED = ("the specification has a call that failed answered with no headers; Envoy makes up a response, 503 or 504 and "
          "a few words")


def failed(_run, journal):
    return None if "hc $0 0 0 0" in journal else "the call did not fail as the specification has it"


CASES = [
    Case("call.answer", "proxy_http_call OK; proxy_on_http_call_response; proxy_get_header_map_value OK; "
         "proxy_get_buffer_bytes OK; proxy_get_status OK",
         f"qh: http_call 'up {CALL} ' {{}} 1000 &n0; pause| hc: get_header_map_value 6 ':status &s; "
         "get_header_map_value 6 'content-length &s; get_buffer_bytes 4 0 99 &s; get_buffer_status 4 &n &n; "
         "get_header_map_pairs 7 &p; set_effective_context @stream; get_buffer_bytes 4 0 99 &s; "
         "get_header_map_value 6 ':status &s; continue_stream 0",
         ["http_call OK *", "get_header_map_value OK '200'", "get_header_map_value OK '5'",
          "get_buffer_bytes OK 'hello'", "get_buffer_status OK 5 0", "get_header_map_pairs OK {}",
          "set_effective_context OK", "get_buffer_bytes OK 'hello'", "get_header_map_value OK '200'",
          "continue_stream OK"], abi=HEADERS_AND_UP, status=200,
         calls=[{"method": "GET", "path": "/call", "headers": {"host": "call.test"}, "body": b""}]),
    Case("call.answer_0_1_0", "proxy_http_call OK; proxy_on_http_call_response; proxy_continue_request",
         f"qh: http_call 'up {CALL} ' {{}} 1000 &n0; pause| hc: get_buffer_bytes 4 0 99 &s; "
         "set_effective_context @stream; continue_request",
         ["http_call OK *", "get_buffer_bytes OK 'hello'", "set_effective_context OK", "continue_request OK"],
         abi=("0.1.0",), status=200, calls=[{"path": "/call"}]),
    Case("call.body_and_trailers", "proxy_http_call OK", "qh: http_call 'up {:method=POST,:path=/call,:authority=c,x-up="
         "%7b\"trailers\":%7b\"t\":\"1\"%7d%7d} 'content {x-t=1} 1000 &n0; pause| hc: get_header_map_pairs 7 &p; "
         "get_buffer_bytes 4 0 99 &s; set_effective_context @stream; continue_stream 0",
         ["http_call OK *", "get_header_map_pairs OK {t=1}", "get_buffer_bytes OK 'hello'", "set_effective_context OK",
          "continue_stream OK"], abi=HEADERS_AND_UP, status=200,
         calls=[{"method": "POST", "body": b"content", "trailers": {"x-t": "1"}}],
         envoy={"calls": [{"method": "POST", "body": b"content"}]},
         why="Envoy writes no trailers behind a body whose length it has said"),
    Case("call.numbers", "proxy_on_http_call_response", "qh: http_call 'up {:method=GET,:path=/call,:authority=c,x-up="
         "%7b\"trailers\":%7b\"t\":\"1\"%2c\"u\":\"2\"%7d%7d} ' {} 1000 &n0; pause| hc: set_effective_context @stream; "
         "continue_stream 0", None, abi=HEADERS_AND_UP,
         check=lambda run, journal: None if any(line.startswith("hc $0 ") and line.endswith(" 5 2")
                                                for line in journal) else "no hc $0 * 5 2"),
    Case("call.unknown_upstream", "proxy_http_call BAD_ARGUMENT", f"qh: http_call 'nowhere {CALL} ' {{}} 1000 &n",
         ["http_call BAD_ARGUMENT"], status=200),
    Case("call.missing_headers", "proxy_http_call BAD_ARGUMENT", "qh: http_call 'up {:path=/call,:authority=c} ' {} 1000 "
         "&n; http_call 'up {:method=GET,:authority=c} ' {} 1000 &n; http_call 'up {:method=GET,:path=/call} ' {} 1000 "
         "&n; http_call 'up {} ' {} 1000 &n", ["http_call BAD_ARGUMENT"] * 4, calls=[]),
    Case("call.too_many", "proxy_http_call INTERNAL_FAILURE; proxy_grpc_call INTERNAL_FAILURE; proxy_grpc_stream "
         "INTERNAL_FAILURE", f"qh: http_call 'up {CALL} ' {{}} 1000 &n; grpc_call 'grpc 'test.Peer 'Unary {{}} 'x 100 &n; "
         "grpc_stream 'grpc 'test.Peer 'Bidi {} &n", ["http_call INTERNAL_FAILURE", "grpc_call INTERNAL_FAILURE",
                                                      "grpc_stream INTERNAL_FAILURE"], setup="no-calls", status=200,
         calls=[], envoy={"skip": True}, why="Envoy has no bound on the calls of a plugin"),
    # As examples of the Go SDK have it.
    Case("call.empty_authority", "proxy_http_call OK", "qh: http_call 'up {:method=GET,:path=/call,:authority=} ' {} 1000 "
         "&n0; pause| hc: get_header_map_value 6 ':status &s; set_effective_context @stream; continue_stream 0",
         ["http_call OK *", "get_header_map_value OK '200'", "set_effective_context OK", "continue_stream OK"],
         abi=HEADERS_AND_UP, calls=[{"path": "/call"}]),
    Case("call.memory", "proxy_http_call INVALID_MEMORY_ACCESS", f"qh: http_call ! 2 {CALL} ' {{}} 1000 &n; http_call 'up "
         f"! 99 ' {{}} 1000 &n; http_call 'up {CALL} ! 3 {{}} 1000 &n; http_call 'up {CALL} ' ! 9 1000 &n; "
         f"http_call 'up {CALL} ' {{}} 1000 !", ["http_call INVALID_MEMORY_ACCESS"] * 5, calls=[]),
    Case("call.refused", "proxy_on_http_call_response; proxy_http_call", f"qh: http_call 'dead {CALL} ' {{}} 1000 &n0; "
         "pause| hc: get_header_map_pairs 6 &p; get_buffer_bytes 4 0 9 &s; set_effective_context @stream; "
         "continue_stream 0", ["http_call OK *", "get_header_map_pairs OK {}", "get_buffer_bytes NOT_FOUND",
                               "set_effective_context OK", "continue_stream OK"], abi=HEADERS_AND_UP, status=200,
         check=failed, envoy={"check": None, "ops": ["http_call OK *", "get_header_map_pairs OK {:status=503*}",
                                                     "get_buffer_bytes OK 'upstream '", "set_effective_context OK",
                                                     "continue_stream OK"]}, why=FAILED),
    Case("call.reset", "proxy_on_http_call_response", "qh: http_call 'up {:method=GET,:path=/call,:authority=c,x-up="
         "%7b\"reset\":1%7d} ' {} 1000 &n0; pause| hc: set_effective_context @stream; continue_stream 0", None,
         abi=HEADERS_AND_UP, status=200, check=failed, envoy={"check": None}, why=FAILED),
    Case("call.timeout", "proxy_on_http_call_response", "qh: http_call 'up {:method=GET,:path=/call,:authority=c,x-up="
         "%7b\"delay\":0.5%7d} ' {} 30 &n0; pause| hc: set_effective_context @stream; continue_stream 0", None,
         abi=HEADERS_AND_UP, status=200, check=failed, envoy={"check": None}, why=FAILED),
    Case("call.several", "proxy_http_call OK; proxy_on_http_call_response", "qh: http_call 'up {:method=GET,:path=/call/1,"
         ":authority=c,x-up=%7b\"delay\":0.3%7d} ' {} 1000 &n0; http_call 'up {:method=GET,:path=/call/2,:authority=c} ' {} "
         "1000 &n1; pause| hc2: set_effective_context @stream; continue_stream 0", None, abi=HEADERS_AND_UP, status=200,
         check=lambda run, journal: None if [line.split(" ")[1] for line in journal if line.startswith("hc")] == [
             "$1", "$0"] else "the answers do not come as they are ready"),
    Case("call.from_tick", "proxy_http_call OK; proxy_on_tick", "qh: set_tick_period_milliseconds 5| tick1: "
         f"set_tick_period_milliseconds 0; http_call 'up {CALL} ' {{}} 1000 &n0| hc: get_header_map_value 6 ':status &s",
         ["set_tick_period_milliseconds OK"] * 2 + ["http_call OK *", "get_header_map_value OK '200'"],
         until="  get_header_map_value*"),
    Case("call.ends_with_its_stream", "proxy_http_call; proxy_on_http_call_response", "qh: http_call 'up {:method=GET,"
         ":path=/call,:authority=c,x-up=%7b\"delay\":0.15%7d} ' {} 1000 &n0", None, until="hc*", seconds=0.5,
         check=lambda run, journal: None if not any(line.startswith("hc") for line in journal) or
         run.host.name == "envoy" else "its answer came after the stream was over",
         why="Envoy's call belongs to the root context: it ends with the stream here, as the answer could not be used"),
    Case("call.from_log", "proxy_http_call OK; proxy_on_log", f"log: http_call 'up {CALL} ' {{}} 1000 &n0| hc: "
         "get_header_map_value 6 ':status &s", ["http_call OK *", "get_header_map_value OK '200'"],
         until="  get_header_map_value*"),
    Case("call.local_response_from_answer", "proxy_send_local_response OK", f"qh: http_call 'up {CALL} ' {{}} 1000 &n0; "
         "pause| hc: set_effective_context @stream; send_local_response 403 ' 'denied {} -1",
         ["http_call OK *", "set_effective_context OK", "send_local_response OK"], status=403, answer_body=b"denied",
         sent=False),
    Case("call.edit_after_answer", "proxy_on_http_call_response; proxy_add_header_map_value OK", f"qh: http_call 'up {CALL} "
         "' {} 1000 &n0; pause| hc: set_effective_context @stream; add_header_map_value 0 'x-l '1; continue_stream 0",
         ["http_call OK *", "set_effective_context OK", "add_header_map_value OK", "continue_stream OK"],
         abi=HEADERS_AND_UP, status=200, sent={"headers": {"x-l": "1"}}),
    Case("call.from_response", "proxy_http_call OK", f"ph: http_call 'up {CALL} ' {{}} 1000 &n0; pause| hc: "
         "set_effective_context @stream; add_header_map_value 2 'x-l '1; continue_stream 1",
         ["http_call OK *", "set_effective_context OK", "add_header_map_value OK", "continue_stream OK"],
         abi=HEADERS_AND_UP, status=200, answer_headers={"x-l": "1"}, answer_body=b"hello"),
    Case("call.from_body", "proxy_http_call OK", f"qbm: pause| qbe: http_call 'up {CALL} ' {{}} 1000 &n0; pause| hc: "
         "set_effective_context @stream; set_buffer_bytes 0 0 99 'after; continue_stream 0", None, abi=HEADERS_AND_UP,
         method="POST", body=[b"be", b"fore"], status=200, sent={"body": b"after"}),
]
