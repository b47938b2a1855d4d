"""Start, contexts, the order of callbacks, done, log, delete, the effective context."""

from case import Case, HEADERS_AND_UP

ORDER = {"": ["qh s0 * 1", "ph s0 * 0", "pb s0 5 *", "pb s0 0 1", "done s0", "log s0", "del s0"]}


def order(*lines, first="qh s0 * 1", head="ph s0 * 0"):
    """Callback lines, with and without the `end_of_stream` of header callbacks."""
    def strip(line):
        parts = line.split(" ")
        return " ".join(parts[:3]) if parts[0] in ("qh", "ph") and len(parts) == 4 else line
    return {"": list(lines), "0.1.0": [strip(line) for line in lines]}


def end(lines):
    """Envoy's order at a stream's end."""
    def swap(part):
        part = list(part)
        at = part.index("done s0")
        part[at:at + 2] = ["log s0", "done s0"]
        return part
    return {key: swap(part) for key, part in lines.items()}


LOG_FIRST = "the specification has proxy_on_log after proxy_on_done; Envoy writes its access log before it ends the stream"


def ordered(name, covers, script, lines, **more):
    return Case(name, covers, script, callbacks=lines, envoy={"callbacks": end(lines), **more.pop("envoy", {})},
                why=LOG_FIRST, **more)


def boot(run, _journal):
    lines = run.collect("a", "boot")
    expected = ["_initialize", "main 0 0", "cc root 0", "vs root 0", "  get_buffer_bytes OK ''", "cf root same size"]
    return None if lines == expected else f"start: expected {expected}, got {lines}"


CASES = [
    Case("start.order", "_initialize; main; proxy_on_context_create; proxy_on_vm_start; proxy_on_configure", "qh:",
         check=boot),
    ordered("stream.get", "proxy_on_request_headers; proxy_on_response_headers; proxy_on_response_body; proxy_on_done;"
            " proxy_on_log; proxy_on_delete", "qh:",
            order("qh s0 * 1", "ph s0 * 0", "pb s0 5 1", "done s0", "log s0", "del s0"),
            envoy={"callbacks": end(order("qh s0 * 1", "ph s0 * 0", "pb s0 5 0", "pb s0 0 1", "done s0", "log s0",
                                          "del s0"))}),
    ordered("stream.post", "proxy_on_request_body", "qh:",
            order("qh s0 * 0", "qb s0 3 1", "ph s0 * 0", "pb s0 5 1", "done s0", "log s0", "del s0"),
            method="POST", body=b"abc",
            envoy={"callbacks": end(order("qh s0 * 0", "qb s0 3 0", "qb s0 0 1", "ph s0 * 0", "pb s0 5 0", "pb s0 0 1",
                                          "done s0", "log s0", "del s0"))}),
    ordered("stream.trailers", "proxy_on_request_trailers; proxy_on_response_trailers", "qh:",
            order("qh s0 * 0", "qb s0 3 0", "qt s0 1", "ph s0 * 0", "pb s0 5 0", "pt s0 2", "done s0", "log s0",
                  "del s0"),
            method="POST", body=[b"abc"], trailers={"x-t": "1"}, upstream={"trailers": {"a": "1", "b": "2"}}),
    ordered("stream.head", "proxy_on_response_headers", "qh:",
            order("qh s0 * 1", "ph s0 * 1", "done s0", "log s0", "del s0"), method="HEAD"),
    ordered("stream.empty_body", "proxy_on_request_body; proxy_on_response_headers", "qh:",
            order("qh s0 * 1", "ph s0 * 1", "done s0", "log s0", "del s0"), method="POST", body=b"",
            upstream={"chunks": [""]}),
    ordered("stream.no_content", "proxy_on_response_headers", "qh:",
            order("qh s0 * 1", "ph s0 * 1", "done s0", "log s0", "del s0"),
            upstream={"status": 204, "chunks": [""]}),
    ordered("stream.pieces", "proxy_on_request_body; proxy_on_response_body", "qh:",
            order("qh s0 * 0", "qb s0 1 0", "qb s0 2 0", "qb s0 0 1", "ph s0 * 0", "pb s0 3 0", "pb s0 4 0",
                  "pb s0 0 1", "done s0", "log s0", "del s0"),
            method="POST", body=[b"a", b"bc"], upstream={"chunks": ["def", "ghij"], "before_end": 0.03}),
    # on_done says no: the stream waits for proxy_done.
    Case("done.deferred", "proxy_done OK; proxy_on_tick", "done: return 2; set_tick_period_milliseconds 10| tick1: "
         "set_effective_context @stream; done; set_tick_period_milliseconds 0| log: get_header_map_value 0 ':path &s",
         ["set_tick_period_milliseconds OK", "set_effective_context OK", "done OK", "set_tick_period_milliseconds OK",
          "get_header_map_value OK '/'"],
         envoy={"ops": ["get_header_map_value OK '/'", "set_tick_period_milliseconds OK"]},
         why="Envoy ends a stream whatever proxy_on_done returns; the specification waits for proxy_done"),
    Case("done.not_pending", "proxy_done NOT_FOUND", "qh: done", ["done NOT_FOUND"]),
    Case("log.reads", "proxy_on_log; proxy_get_header_map_value OK", "log: get_header_map_value 0 'x-a &s; "
         "get_header_map_value 2 ':status &s; get_header_map_value 2 'x-b &s",
         ["get_header_map_value OK '1'", "get_header_map_value OK '202'", "get_header_map_value OK '2'"],
         headers=(("x-a", "1"),), upstream={"status": 202, "headers": [["x-b", "2"]]}),
    Case("log.edits_nothing", "proxy_on_log; proxy_add_header_map_value BAD_ARGUMENT",
         "log: add_header_map_value 0 'x-a '1; add_header_map_value 2 'x-a '1", ["add_header_map_value BAD_ARGUMENT"] * 2),
    Case("effective.ok", "proxy_set_effective_context OK",
         "qh: set_effective_context @root; set_effective_context @me; get_header_map_value 0 'x-a &s",
         ["set_effective_context OK", "set_effective_context OK", "get_header_map_value OK '1'"],
         headers=(("x-a", "1"),)),
    Case("effective.unknown", "proxy_set_effective_context BAD_ARGUMENT",
         "qh: set_effective_context 12345; set_effective_context -1; get_header_map_value 0 'x-a &s",
         ["set_effective_context BAD_ARGUMENT", "set_effective_context BAD_ARGUMENT", "get_header_map_value OK '1'"],
         headers=(("x-a", "1"),)),
    Case("effective.vm", "proxy_set_effective_context", "qh: set_effective_context 0; get_header_map_value 0 'x-a &s",
         ["set_effective_context OK", "get_header_map_value OK '1'"], headers=(("x-a", "1"),)),
    Case("effective.ends_with_the_callback", "proxy_set_effective_context",
         "qh: set_effective_context @root| ph: get_header_map_value 2 ':status &s",
         ["set_effective_context OK", "get_header_map_value OK '200'"]),
    Case("effective.from_tick", "proxy_set_effective_context OK; proxy_on_tick",
         "qh: set_tick_period_milliseconds 5; pause| tick1: set_tick_period_milliseconds 0; set_effective_context "
         "@stream; get_header_map_value 0 'x-a &s; add_header_map_value 0 'x-b '2; continue_stream 0",
         ["set_tick_period_milliseconds OK", "set_tick_period_milliseconds OK", "set_effective_context OK",
          "get_header_map_value OK '1'", "add_header_map_value OK", "continue_stream OK"],
         abi=HEADERS_AND_UP, headers=(("x-a", "1"),), status=200, sent={"headers": {"x-b": "2"}}),
    Case("effective.from_tick_0_1_0", "proxy_set_effective_context OK; proxy_continue_request",
         "qh: set_tick_period_milliseconds 5; pause| tick1: set_tick_period_milliseconds 0; set_effective_context "
         "@stream; get_header_map_value 0 'x-a &s; add_header_map_value 0 'x-b '2; continue_request",
         ["set_tick_period_milliseconds OK", "set_tick_period_milliseconds OK", "set_effective_context OK",
          "get_header_map_value OK '1'", "add_header_map_value OK", "continue_request OK"],
         abi=("0.1.0",), headers=(("x-a", "1"),), status=200, sent={"headers": {"x-b": "2"}}),
    Case("configuration.get", "proxy_get_configuration OK INVALID_MEMORY_ACCESS", "qh: get_configuration &z; "
         "get_configuration ! !", ["get_configuration OK *", "get_configuration INVALID_MEMORY_ACCESS"], abi=("0.1.0",)),
]
