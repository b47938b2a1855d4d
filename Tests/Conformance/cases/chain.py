"""Several plugins on one stream, and plugins that may not do everything."""

from case import Case

CASES = [
    Case("chain.order", "proxy_on_request_headers; proxy_on_response_headers", "qh: add_header_map_value 0 'x-way 'a| "
         "ph: get_header_map_value 2 'x-back &s", ["add_header_map_value OK", "get_header_map_value OK 'b'"],
         setup="chain", others={"b": "qh: get_header_map_value 0 'x-way &s| ph: add_header_map_value 2 'x-back 'b"},
         other_ops={"b": ["get_header_map_value OK 'a'", "add_header_map_value OK"]}, status=200,
         sent={"headers": {"x-way": "a"}}, answer_headers={"x-back": "b"}),
    Case("chain.bodies", "proxy_on_request_body; proxy_on_response_body", "qh: remove_header_map_value 0 'content-length| "
         "ph: remove_header_map_value 2 'content-length| qbe: set_buffer_bytes 0 -1 0 'A| pbe: set_buffer_bytes 1 -1 0 'A",
         None, setup="chain", others={"b": "qbe: set_buffer_bytes 0 -1 0 'B| pbe: set_buffer_bytes 1 -1 0 'B"},
         method="POST", body=b"way", status=200, sent={"body": b"wayAB"}, answer_body=b"helloBA"),
    Case("chain.trailers", "proxy_on_request_trailers; proxy_on_response_trailers", "qt: add_header_map_value 1 'x-a '1| "
         "pt: get_header_map_value 3 'x-b &s", ["add_header_map_value OK", "get_header_map_value OK '2'"], setup="chain",
         others={"b": "qt: get_header_map_value 1 'x-a &s| pt: add_header_map_value 3 'x-b '2"},
         other_ops={"b": ["get_header_map_value OK '1'", "add_header_map_value OK"]}, method="POST", body=[b"abc"],
         trailers={"x-t": "1"}, upstream={"trailers": {"x-u": "1"}}, sent={"trailers": {"x-t": "1", "x-a": "1"}},
         answer_trailers={"x-u": "1", "x-b": "2"}),
    Case("chain.local_response", "proxy_send_local_response OK", "ph: get_header_map_value 2 'x-b &s; "
         "add_header_map_value 2 'x-a '1", ["get_header_map_value OK '1'", "add_header_map_value OK"], setup="chain",
         others={"b": "qh: send_local_response 418 ' 'short {} -1; pause| ph: add_header_map_value 2 'x-b '1"},
         other_ops={"b": ["send_local_response OK", "add_header_map_value OK"]}, status=418, answer_body=b"short",
         answer_headers={"x-a": "1", "x-b": "1"}, sent=False),
    Case("chain.local_response_before_the_next", "proxy_send_local_response OK", "qh: send_local_response 418 ' 'short {} "
         "-1; pause", ["send_local_response OK"], setup="chain", others={"b": "ph: add_header_map_value 2 'x-b '1"},
         other_ops={"b": []}, status=418, answer_headers={"x-b": None}, sent=False),
    Case("chain.pause_holds_the_next", "proxy_on_request_headers; proxy_on_tick", "qh: set_tick_period_milliseconds 30; "
         "pause| tick1: set_tick_period_milliseconds 0; set_effective_context @stream; send_local_response 403 ' 'no {} -1",
         None, setup="chain", others={"b": "qh: get_header_map_value 0 ':method &s"}, other_ops={"b": []}, status=403,
         sent=False),

    # Capability restriction.
    Case("restricted.hostcall", "proxy_log INTERNAL_FAILURE; proxy_set_shared_data INTERNAL_FAILURE", "qh: log 4 'x; "
         "set_shared_data 'k 'v 0; get_header_map_value 0 ':method &s; add_header_map_value 0 'x-a '1",
         ["log INTERNAL_FAILURE", "set_shared_data INTERNAL_FAILURE", "get_header_map_value OK 'GET'",
          "add_header_map_value INTERNAL_FAILURE"], setup="restricted", status=200, sent={"headers": {"x-a": None}}),
    Case("restricted.wasi", "fd_write NOTCAPABLE; random_get SUCCESS; clock_time_get NOTCAPABLE", "qh: wasi:fd_write 1 [x] "
         "&n; wasi:clock_time_get 0 0 &l; wasi:random_get &b1 1", ["wasi:fd_write 76", "wasi:clock_time_get 76",
                                                                   "wasi:random_get 0 *"],
         setup="restricted", status=200),
    Case("restricted.callback", "proxy_on_response_headers; proxy_on_request_body", "ph: trap| pb: trap", None,
         setup="restricted", method="POST", body=b"abc", status=200, answer_body=b"hello",
         check=lambda run, journal: next((f"{line} was called" for line in journal
                                          if line.split(" ")[0] in ("ph", "pb", "log")), None)),
]
