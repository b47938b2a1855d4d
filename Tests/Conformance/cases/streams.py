"""Trailers, local responses, continue and close."""

from case import Case, HEADERS_AND_UP

TRAILERS = {"method": "POST", "body": [b"abc"], "trailers": {"x-t": "1"}}
ANSWERED = {"upstream": {"trailers": {"x-u": "1"}}}
CLOSED = {"": ["proxy_close_stream OK"]}

CASES = [
    # Trailers.
    Case("trailers.read", "proxy_on_request_trailers; proxy_on_response_trailers; proxy_get_header_map_value OK",
         "qt: get_header_map_value 1 'x-t &s; get_header_map_pairs 1 &p; get_header_map_size 1 &n| pt: "
         "get_header_map_value 3 'x-u &s; get_header_map_pairs 3 &p",
         ["get_header_map_value OK '1'", "get_header_map_pairs OK {x-t=1}", "get_header_map_size OK *",
          "get_header_map_value OK '1'", "get_header_map_pairs OK {x-u=1}"], **TRAILERS, **ANSWERED),
    Case("trailers.edit", "proxy_on_request_trailers; proxy_add_header_map_value OK; proxy_replace_header_map_value OK; "
         "proxy_remove_header_map_value OK", "qt: add_header_map_value 1 'x-n '2; replace_header_map_value 1 'x-t '9| pt: "
         "add_header_map_value 3 'x-n '2; remove_header_map_value 3 'x-u",
         ["add_header_map_value OK", "replace_header_map_value OK", "add_header_map_value OK",
          "remove_header_map_value OK"], sent={"trailers": {"x-t": "9", "x-n": "2"}}, answer_trailers={"x-n": "2"},
         **TRAILERS, **ANSWERED),
    Case("trailers.set", "proxy_set_header_map_pairs OK", "qt: set_header_map_pairs 1 {a=1,b=2}| pt: "
         "set_header_map_pairs 3 {c=3}", ["set_header_map_pairs OK"] * 2, sent={"trailers": {"a": "1", "b": "2"}},
         answer_trailers={"c": "3"}, **TRAILERS, **ANSWERED),
    Case("trailers.create", "proxy_on_request_body; proxy_on_response_body; proxy_add_header_map_value OK",
         "qh: remove_header_map_value 0 'content-length| qbe: add_header_map_value 1 'x-new '1| ph: "
         "remove_header_map_value 2 'content-length| pbe: add_header_map_value 3 'x-new '2",
         ["remove_header_map_value OK", "add_header_map_value OK"] * 2, method="POST", body=b"abc",
         sent={"trailers": {"x-new": "1"}}, answer_trailers={"x-new": "2"}),
    Case("trailers.create_too_early", "proxy_add_header_map_value", "qbm: add_header_map_value 1 'x-new '1",
         ["add_header_map_value BAD_ARGUMENT"] * 2, method="POST", body=[b"ab", b"cd"], sent={"trailers": {}}),
    Case("trailers.pause", "proxy_on_request_trailers; proxy_continue_stream OK", "qt: set_tick_period_milliseconds 5; "
         "pause| tick1: set_tick_period_milliseconds 0; set_effective_context @stream; "
         "add_header_map_value 1 'x-n '2; continue_stream 0",
         ["set_tick_period_milliseconds OK"] * 2 + ["set_effective_context OK", "add_header_map_value OK",
                                                    "continue_stream OK"],
         abi=HEADERS_AND_UP, sent={"trailers": {"x-t": "1", "x-n": "2"}, "body": b"abc"}, **TRAILERS),
    Case("trailers.pause_response", "proxy_on_response_trailers; proxy_continue_stream OK",
         "pt: set_tick_period_milliseconds 5; pause| tick1: set_tick_period_milliseconds 0; set_effective_context "
         "@stream; continue_stream 1", None, abi=HEADERS_AND_UP, answer_trailers={"x-u": "1"}, answer_body=b"hello",
         **ANSWERED),
    Case("trailers.body_is_whole_there", "proxy_on_request_trailers; proxy_get_buffer_bytes",
         "qb: pause| qt: get_buffer_bytes 0 0 99 &s", ["get_buffer_bytes OK 'abc'"], sent={"body": b"abc", "trailers": {"x-t": "1"}}, **TRAILERS),

    # Local responses.
    Case("local.request_headers", "proxy_send_local_response OK", "qh: send_local_response 418 'why 'body {x-l=1,x-l=2} "
         "-1; pause| ph: get_header_map_value 2 ':status &s",
         ["send_local_response OK", "get_header_map_value OK '418'"], status=418, answer_body=b"body",
         answer_headers={"x-l": "1,2"}, sent=False),
    Case("local.continue_is_ignored", "proxy_send_local_response OK", "qh: send_local_response 418 ' 'body {} -1",
         ["send_local_response OK"], status=418, sent=False),
    Case("local.empty", "proxy_send_local_response OK", "qh: send_local_response 204 ' ' {} -1",
         ["send_local_response OK"], status=204, sent=False),
    Case("local.callbacks", "proxy_send_local_response; proxy_on_response_headers", "qh: send_local_response 403 ' 'no "
         "{} -1", None, {"": ["qh s0 * 1", "ph s0 * 0", "pb s0 2 1", "done s0", "log s0", "del s0"],
                         "0.1.0": ["qh s0 *", "ph s0 *", "pb s0 2 1", "done s0", "log s0", "del s0"]},
         envoy={"callbacks": {"": ["qh s0 * 1", "ph s0 * 0", "pb s0 2 1", "log s0", "done s0", "del s0"],
                              "0.1.0": ["qh s0 *", "ph s0 *", "pb s0 2 1", "log s0", "done s0", "del s0"]}},
         why="proxy_on_log stands before proxy_on_done in Envoy", status=403),
    Case("local.request_body", "proxy_send_local_response OK", "qbe: send_local_response 418 ' 'body {} -1",
         ["send_local_response OK"], status=418, method="POST", body=b"hello"),
    Case("local.request_trailers", "proxy_send_local_response OK", "qt: send_local_response 418 ' 'body {} -1",
         ["send_local_response OK"], status=418, **TRAILERS),
    Case("local.response_headers", "proxy_send_local_response OK", "ph1: send_local_response 418 ' 'body {x-l=1} -1",
         ["send_local_response OK"], status=418, answer_body=b"body", answer_headers={"x-l": "1", "x-b": None},
         upstream={"headers": [["x-b", "1"]]}),
    Case("local.response_body", "proxy_send_local_response OK", "pb1: send_local_response 418 ' 'body {} -1",
         ["send_local_response OK"]),
    Case("local.response_body_held", "proxy_send_local_response OK", "ph1: pause; set_tick_period_milliseconds 5| tick1: "
         "set_tick_period_milliseconds 0; set_effective_context @stream; send_local_response 418 ' 'body {} -1", None,
         status=418, answer_body=b"body"),
    Case("local.twice", "proxy_send_local_response", "qh: send_local_response 418 ' 'one {} -1; "
         "send_local_response 419 ' 'two {} -1", ["send_local_response OK"] * 2, status=418, answer_body=b"one"),
    Case("local.from_tick", "proxy_send_local_response OK", "qh: set_tick_period_milliseconds 5; pause| tick1: "
         "set_tick_period_milliseconds 0; set_effective_context @stream; send_local_response 418 ' 'body {} -1",
         ["set_tick_period_milliseconds OK"] * 2 + ["set_effective_context OK", "send_local_response OK"], status=418,
         sent=False),
    Case("local.grpc", "proxy_send_local_response OK", "qh: send_local_response 200 'why 'body {} 7",
         ["send_local_response OK"], headers=(("content-type", "application/grpc"),), method="POST", body=b"x",
         status=200, answer_headers={"grpc-status": "7", "grpc-message": "body"}),
    Case("local.grpc_unset", "proxy_send_local_response OK", "qh: send_local_response 403 ' 'body {} 17",
         ["send_local_response OK"], headers=(("content-type", "application/grpc"),), method="POST", body=b"x",
         status=200, answer_headers={"grpc-status": "7"}),
    Case("local.memory", "proxy_send_local_response INVALID_MEMORY_ACCESS", "qh: send_local_response 418 ! 3 'b {} -1; "
         "send_local_response 418 ' ! 3 {} -1; send_local_response 418 ' 'b ! 3 -1",
         ["send_local_response INVALID_MEMORY_ACCESS"] * 3, status=200),
    Case("local.bad_status", "proxy_send_local_response", "qh: send_local_response 0 ' 'b {} -1", None),
    Case("local.pseudo_header", "proxy_send_local_response", "qh: send_local_response 418 ' 'b {:status=500} -1", None),
    Case("local.content_length", "proxy_send_local_response", "qh: send_local_response 418 ' 'body {content-length=77} "
         "-1", ["send_local_response OK"], status=418, answer_body=b"body"),
    Case("local.log", "proxy_on_log", "qh: send_local_response 418 'reason 'b {} -1| log: get_header_map_value 2 ':status "
         "&s; get_property 'response%00code &h; get_property 'response%00code_details &s", None),

    # continue, close.
    Case("continue.unknown", "proxy_continue_stream BAD_ARGUMENT", "qh: continue_stream 4; continue_stream 99",
         ["continue_stream BAD_ARGUMENT"] * 2, abi=HEADERS_AND_UP, status=200),
    Case("continue.tcp_on_http", "proxy_continue_stream UNIMPLEMENTED", "qh: continue_stream 2; continue_stream 3", None,
         abi=HEADERS_AND_UP, status=200, envoy={"skip": True}, why="Envoy dies of it"),
    Case("continue.not_paused", "proxy_continue_stream OK", "qh: continue_stream 0", ["continue_stream OK"],
         abi=HEADERS_AND_UP, status=200),
    Case("continue.response_too_early", "proxy_continue_stream", "qh: continue_stream 1", None,
         abi=HEADERS_AND_UP, status=200, envoy={"skip": True}, why="Envoy dies of it"),
    Case("continue.then_pause", "proxy_continue_stream OK", "qh: continue_stream 0; pause", None, abi=HEADERS_AND_UP,
         seconds=0.3),
    Case("continue.from_root", "proxy_continue_stream", "qh: set_effective_context @root; continue_stream 0", None,
         abi=HEADERS_AND_UP, status=200),
    Case("continue.response_headers", "proxy_continue_stream OK", "ph: set_tick_period_milliseconds 5; pause| tick1: "
         "set_tick_period_milliseconds 0; set_effective_context @stream; add_header_map_value 2 'x-l '1; "
         "continue_stream 1", None, abi=HEADERS_AND_UP, status=200, answer_headers={"x-l": "1"}, answer_body=b"hello"),
    Case("continue.twice_0_1_0", "proxy_continue_request; proxy_continue_response", "qh: continue_request| ph: "
         "continue_response", ["continue_request OK", "continue_response OK"], abi=("0.1.0",), status=200),
    Case("close.request", "proxy_close_stream OK", "qh: close_stream 0; pause", ["close_stream OK"], abi=HEADERS_AND_UP,
         broken=True, sent=False),
    Case("close.response", "proxy_close_stream OK", "ph: close_stream 1", ["close_stream OK"], abi=HEADERS_AND_UP,
         broken=True),
    Case("close.unknown", "proxy_close_stream BAD_ARGUMENT", "qh: close_stream 4", ["close_stream BAD_ARGUMENT"],
         abi=HEADERS_AND_UP, status=200),
    Case("close.tcp_on_http", "proxy_close_stream", "qh: close_stream 2; close_stream 3", None, abi=HEADERS_AND_UP),
    Case("close.from_tick", "proxy_close_stream OK", "qh: set_tick_period_milliseconds 5; pause| tick1: "
         "set_tick_period_milliseconds 0; set_effective_context @stream; close_stream 0", None, abi=HEADERS_AND_UP,
         broken=True, sent=False),
    Case("clear_route_cache", "proxy_clear_route_cache", "qh: clear_route_cache", ["clear_route_cache OK"],
         abi=("0.1.0",), status=200),

    # get_status outside of calls.
    Case("status.outside", "proxy_get_status OK", "qh: get_status &n &s", None),
    Case("status.memory", "proxy_get_status INVALID_MEMORY_ACCESS", "qh: get_status ! &s; get_status &n ! !",
         ["get_status INVALID_MEMORY_ACCESS"] * 2),
]
