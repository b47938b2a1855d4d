"""TCP connections: new connection, data both ways, closes."""

from case import Case, HEADERS_AND_UP, matches


def tcp(name, covers, script, ops, callbacks, body, **more):
    return Case(name, covers, script, ops, callbacks, setup="tcp", plugin="t", body=body, **more)


def after(*patterns):
    """A check that lines of the journal match these, in that order, whatever stands between."""
    def check(_run, journal):
        lines = iter(journal)
        for pattern in patterns:
            if not any(matches(pattern, line) for line in lines):
                return f"no {pattern!r} in its place in {journal}"
        return None
    return check


# A piece of None closes the client's sending side; a number waits.
CASES = [
    tcp("tcp.echo", "proxy_on_new_connection; proxy_on_downstream_data; proxy_on_upstream_data; "
        "proxy_on_downstream_connection_close; proxy_on_upstream_connection_close",
        "dd1: get_buffer_bytes 2 0 99 &s| dd2: get_buffer_bytes 2 0 99 &s; get_buffer_status 2 &n &n| ud1: "
        "get_buffer_bytes 3 0 99 &s; get_buffer_status 3 &n &n",
        ["get_buffer_bytes OK ''", "get_buffer_bytes OK 'hello'", "get_buffer_status OK 5 0",
         "get_buffer_bytes OK 'hello'", "get_buffer_status OK 5 0"], None, [b"hello"], answer_body=b"hello"),
    tcp("tcp.half_close", "proxy_on_downstream_data; proxy_on_upstream_data", "qh:", None, None, [b"hello", None],
        answer_body=b"helloBYE"),
    tcp("tcp.edit", "proxy_set_buffer_bytes OK", "dd2: set_buffer_bytes 2 0 99 'HELLO| ud1: set_buffer_bytes 3 0 0 '>",
        ["set_buffer_bytes OK"] * 2, None, [b"hello"], answer_body=b">HELLO"),
    tcp("tcp.drop", "proxy_set_buffer_bytes OK", "dd2: set_buffer_bytes 2 0 99 '", ["set_buffer_bytes OK"], None,
        [b"hello", b"more"], answer_body=b"more"),
    tcp("tcp.append", "proxy_set_buffer_bytes OK", "ud1: set_buffer_bytes 3 99 0 '<", ["set_buffer_bytes OK"], None,
        [b"hello"], answer_body=b"hello<"),
    tcp("tcp.pause", "proxy_on_downstream_data", "dd2: pause| dd3: get_buffer_bytes 2 0 99 &s",
        ["get_buffer_bytes OK 'hello*'"], None, [b"hello", b"more"], answer_body=b"hellomore"),
    tcp("tcp.pause_and_continue", "proxy_continue_stream OK; proxy_on_downstream_data", "dd2: "
        "set_tick_period_milliseconds 5; pause| tick1: set_tick_period_milliseconds 0; set_effective_context @stream; "
        "continue_stream 2", ["set_tick_period_milliseconds OK"] * 2 + ["set_effective_context OK", "continue_stream OK"],
        None, [b"hello"], answer_body=b"hello", abi=HEADERS_AND_UP),
    tcp("tcp.pause_upstream", "proxy_continue_stream OK; proxy_on_upstream_data", "ud1: "
        "set_tick_period_milliseconds 5; pause| tick1: set_tick_period_milliseconds 0; set_effective_context @stream; "
        "continue_stream 3", ["set_tick_period_milliseconds OK"] * 2 + ["set_effective_context OK", "continue_stream OK"], None, [b"hello"], answer_body=b"hello", abi=HEADERS_AND_UP,
        envoy={"answer_body": b"!", "seconds": 0.3, "ops": ["set_tick_period_milliseconds OK"] * 2 +
               ["set_effective_context OK", "continue_stream UNIMPLEMENTED"]},
        why="Envoy cannot resume the side of the upstream"),
    tcp("tcp.close_downstream", "proxy_close_stream OK; proxy_on_downstream_connection_close", "dd2: close_stream 2",
        ["close_stream OK"], None, [b"hello"], answer_body=b"", check=after("dd s0 5 0", "dc s0 1"), abi=HEADERS_AND_UP),
    tcp("tcp.close_upstream", "proxy_close_stream OK", "dd2: close_stream 3", ["close_stream OK"], None, [b"hello"], abi=HEADERS_AND_UP,
        answer_body=b""),
    tcp("tcp.upstream_closes", "proxy_on_upstream_connection_close", "qh:", None, None, [b"CLOSE"], answer_body=b"",
        check=after("dd s0 5 0", "ud s0 0 1", "uc s0 *", "dc s0 *")),
    tcp("tcp.client_closes", "proxy_on_downstream_connection_close", "qh:", None, None, [b"hello"], answer_body=b"hello",
        check=after("dd s0 0 1", "dc s0 *", "done s0", "log s0", "del s0")),
    tcp("tcp.buffers_absent", "proxy_get_buffer_bytes NOT_FOUND", "dd2: get_buffer_bytes 3 0 9 &s; get_buffer_bytes 0 0 9 "
        "&s", ["get_buffer_bytes NOT_FOUND"] * 2, None, [b"hello"], answer_body=b"hello",
        envoy={"ops": ["get_buffer_bytes OK ''"] * 2},
        why="the specification has NOT_FOUND for a buffer that is not there; Envoy takes some for empty ones"),
    tcp("tcp.properties", "proxy_get_property OK", "dd2: get_property 'source%00address &s; get_property 'source%00port &h; "
        "get_property 'destination%00port &h; get_property 'connection%00id &h; get_property 'plugin_name &s; "
        "get_property 'request%00path &s; get_property 'upstream%00address &s",
        ["get_property OK '127.0.0.1:*'"] + ["get_property OK " + "%*" * 8] * 3 +
        ["get_property OK 't'", "get_property NOT_FOUND", "get_property OK '127.0.0.1:*'"], None, [b"hello"],
        answer_body=b"hello"),
    tcp("tcp.headers_absent", "proxy_get_header_map_value BAD_ARGUMENT", "dd2: get_header_map_value 0 ':path &s; "
        "get_header_map_pairs 0 &p; add_header_map_value 0 'a 'b", ["get_header_map_value BAD_ARGUMENT",
        "get_header_map_pairs OK {}", "add_header_map_value BAD_ARGUMENT"], None, [b"hello"], answer_body=b"hello"),
    tcp("tcp.call", "proxy_http_call OK; proxy_on_http_call_response", "dd2: http_call 'up {:method=GET,:path=/call,"
        ":authority=c} ' {} 1000 &n0; pause| hc: get_header_map_value 6 ':status &s; set_effective_context @stream; "
        "continue_stream 2", ["http_call OK *", "get_header_map_value OK '200'", "set_effective_context OK",
                              "continue_stream OK"], None, [b"hello"], answer_body=b"hello", abi=HEADERS_AND_UP),
    tcp("tcp.local_response", "proxy_send_local_response", "dd2: send_local_response 403 ' 'x {} -1", None, None,
        [b"hello"], answer_body=b"hello"),
]
