"""Shared data, shared queues, metrics."""

import re

from case import Case

A, B = "a", "b"


def series(name, value):
    """A check that the host's metrics have that value for the plugin's metric, whatever their labels and prefix."""
    def check(run, _journal):
        text = run.host.metrics()
        if not re.search(rf"^[a-zA-Z_:]*{name}[_a-z]*(\{{[^}}]*\}})? {value}$", text, re.MULTILINE):
            lines = [line for line in text.splitlines() if name in line]
            return f"metrics: {name} is not {value} in {lines or text[:500]}"
        return None
    return check


CASES = [
    # Shared data.
    Case("data.set_and_get", "proxy_set_shared_data OK; proxy_get_shared_data OK", "qh: set_shared_data 'd1 'one 0; "
         "get_shared_data 'd1 &s &n", ["set_shared_data OK", "get_shared_data OK 'one' *"]),
    Case("data.missing", "proxy_get_shared_data NOT_FOUND", "qh: get_shared_data 'd-none &s &n",
         ["get_shared_data NOT_FOUND"]),
    Case("data.cas", "proxy_set_shared_data OK CAS_MISMATCH; proxy_get_shared_data OK", "qh: set_shared_data 'd2 'one 0; "
         "get_shared_data 'd2 &s &n0; set_shared_data 'd2 'two $0; set_shared_data 'd2 'three $0; get_shared_data 'd2 "
         "&s &n", ["set_shared_data OK", "get_shared_data OK 'one' *", "set_shared_data OK",
                   "set_shared_data CAS_MISMATCH", "get_shared_data OK 'two' *"]),
    Case("data.cas_on_a_missing_key", "proxy_set_shared_data OK", "qh: set_shared_data 'd3 'x 77; get_shared_data 'd3 &s "
         "&n", ["set_shared_data OK", "get_shared_data OK 'x' *"]),
    Case("data.empty_value", "proxy_set_shared_data OK; proxy_get_shared_data OK", "qh: set_shared_data 'd4 ' 0; "
         "get_shared_data 'd4 &s &n", ["set_shared_data OK", "get_shared_data OK '' *"]),
    Case("data.binary", "proxy_set_shared_data OK", "qh: set_shared_data 'd%005 'a%00b%ff 0; get_shared_data 'd%005 &s "
         "&n", ["set_shared_data OK", "get_shared_data OK 'a%00b%ff' *"]),
    Case("data.large", "proxy_set_shared_data OK", "qh: set_shared_data 'd6 *50000x 0; get_shared_data 'd6 &z &n",
         ["set_shared_data OK", "get_shared_data OK 50000 *"]),
    Case("data.set_memory", "proxy_set_shared_data INVALID_MEMORY_ACCESS", "qh: set_shared_data ! 3 'x 0; "
         "set_shared_data 'd7 ! 3 0", ["set_shared_data INVALID_MEMORY_ACCESS"] * 2),
    Case("data.get_memory", "proxy_get_shared_data INVALID_MEMORY_ACCESS", "qh: set_shared_data 'd8 'x 0; "
         "get_shared_data ! 3 &s &n; get_shared_data 'd8 ! ! &n; get_shared_data 'd8 &s !",
         ["set_shared_data OK"] + ["get_shared_data INVALID_MEMORY_ACCESS"] * 3),
    Case("data.from_the_root", "proxy_set_shared_data OK", "qh: set_effective_context @root; set_shared_data 'd9 'r 0| "
         "ph: get_shared_data 'd9 &s &n", ["set_effective_context OK", "set_shared_data OK", "get_shared_data OK 'r' *"]),
    Case("data.at_the_end", "proxy_set_shared_data OK; proxy_on_log", "log: set_shared_data 'd10 'l 0; "
         "get_shared_data 'd10 &s &n", ["set_shared_data OK", "get_shared_data OK 'l' *"]),
    Case("data.by_vm_id", "proxy_set_shared_data OK; proxy_get_shared_data OK", "qh: set_shared_data 'v1 'mine 0",
         ["set_shared_data OK"], setup="shared", others={B: "qh: get_shared_data 'v1 &s &n"},
         other_ops={B: ["get_shared_data OK 'mine' *"]}),
    Case("data.not_by_plugin", "proxy_get_shared_data NOT_FOUND", "qh: set_shared_data 'v2 'mine 0",
         ["set_shared_data OK"], setup="chain", others={B: "qh: get_shared_data 'v2 &s &n"},
         other_ops={B: ["get_shared_data NOT_FOUND"]}),

    # Queues.
    Case("queue.register", "proxy_register_shared_queue OK; proxy_resolve_shared_queue OK; proxy_enqueue_shared_queue OK;"
         " proxy_dequeue_shared_queue OK", "qh: register_shared_queue 'q1 &n0; resolve_shared_queue 'vm-a 'q1 &n1; "
         "enqueue_shared_queue $1 'm1; enqueue_shared_queue $0 'm2; dequeue_shared_queue $0 &s; "
         "dequeue_shared_queue $0 &s", ["register_shared_queue OK *", "resolve_shared_queue OK *",
                                        "enqueue_shared_queue OK", "enqueue_shared_queue OK",
                                        "dequeue_shared_queue OK 'm1'", "dequeue_shared_queue OK 'm2'"]),
    Case("queue.ready", "proxy_on_queue_ready", "qh: register_shared_queue 'q2 &n0; enqueue_shared_queue $0 'm1; "
         "enqueue_shared_queue $0 'm2| qr: dequeue_shared_queue $0 &s",
         ["register_shared_queue OK *", "enqueue_shared_queue OK", "enqueue_shared_queue OK",
          "dequeue_shared_queue OK 'm1'", "dequeue_shared_queue OK 'm2'"], until="  dequeue_shared_queue OK 'm2'"),
    Case("queue.empty", "proxy_dequeue_shared_queue EMPTY", "qh: register_shared_queue 'q3 &n0; dequeue_shared_queue $0 "
         "&s", ["register_shared_queue OK *", "dequeue_shared_queue EMPTY"]),
    Case("queue.dequeue_unknown", "proxy_dequeue_shared_queue NOT_FOUND", "qh: dequeue_shared_queue 0 &s; "
         "dequeue_shared_queue 98765 &s", ["dequeue_shared_queue NOT_FOUND"] * 2),
    Case("queue.enqueue_unknown", "proxy_enqueue_shared_queue NOT_FOUND", "qh: enqueue_shared_queue 0 'x; "
         "enqueue_shared_queue 98765 'x", ["enqueue_shared_queue NOT_FOUND"] * 2),
    Case("queue.resolve_unknown", "proxy_resolve_shared_queue NOT_FOUND", "qh: resolve_shared_queue 'vm-a 'none &n; "
         "resolve_shared_queue 'vm-none 'q1 &n", ["resolve_shared_queue NOT_FOUND"] * 2),
    Case("queue.resolve_own", "proxy_resolve_shared_queue OK", "qh: register_shared_queue 'q5 &n0; resolve_shared_queue "
         "' 'q5 &n1; enqueue_shared_queue $1 'x; dequeue_shared_queue $0 &s",
         ["register_shared_queue OK *", "resolve_shared_queue OK *", "enqueue_shared_queue OK",
          "dequeue_shared_queue OK 'x'"]),
    Case("queue.again_keeps", "proxy_register_shared_queue OK", "qh: register_shared_queue 'q6 &n0; enqueue_shared_queue "
         "$0 'kept; register_shared_queue 'q6 &n1; dequeue_shared_queue $1 &s",
         ["register_shared_queue OK *", "enqueue_shared_queue OK", "register_shared_queue OK *",
          "dequeue_shared_queue OK 'kept'"]),
    Case("queue.empty_message", "proxy_enqueue_shared_queue OK; proxy_dequeue_shared_queue OK",
         "qh: register_shared_queue 'q7 &n0; enqueue_shared_queue $0 '; dequeue_shared_queue $0 &s",
         ["register_shared_queue OK *", "enqueue_shared_queue OK", "dequeue_shared_queue OK ''"]),
    Case("queue.memory", "proxy_register_shared_queue INVALID_MEMORY_ACCESS; proxy_resolve_shared_queue "
         "INVALID_MEMORY_ACCESS; proxy_enqueue_shared_queue INVALID_MEMORY_ACCESS; proxy_dequeue_shared_queue "
         "INVALID_MEMORY_ACCESS", "qh: register_shared_queue ! 3 &n; register_shared_queue 'q8 !; register_shared_queue 'q8 "
         "&n0; resolve_shared_queue ! 3 'q8 &n; resolve_shared_queue 'vm-a ! 3 &n; resolve_shared_queue 'vm-a 'q8 !; "
         "enqueue_shared_queue $0 ! 3; enqueue_shared_queue $0 'x; dequeue_shared_queue $0 ! !",
         ["register_shared_queue INVALID_MEMORY_ACCESS"] * 2 + ["register_shared_queue OK *"] +
         ["resolve_shared_queue INVALID_MEMORY_ACCESS"] * 3 + ["enqueue_shared_queue INVALID_MEMORY_ACCESS",
         "enqueue_shared_queue OK", "dequeue_shared_queue INVALID_MEMORY_ACCESS"]),
    Case("queue.across_plugins", "proxy_resolve_shared_queue OK; proxy_on_queue_ready", "qh: register_shared_queue 'x1 "
         "&n0| qr: dequeue_shared_queue $0 &s", ["register_shared_queue OK *", "dequeue_shared_queue OK 'hi'"],
         setup="shared", others={B: "qh: resolve_shared_queue 'shared 'x1 &n0; enqueue_shared_queue $0 'hi"},
         other_ops={B: ["resolve_shared_queue OK *", "enqueue_shared_queue OK"]},
         until="  dequeue_shared_queue OK 'hi'"),

    # Metrics.
    Case("metric.counter", "proxy_define_metric OK; proxy_increment_metric OK; proxy_get_metric OK",
         "qh: define_metric 0 'conf_counter &n0; increment_metric $0 3; increment_metric $0 4; get_metric $0 &l",
         ["define_metric OK *", "increment_metric OK", "increment_metric OK", "get_metric OK 7"],
         check=series("conf_counter", 7)),
    Case("metric.gauge", "proxy_define_metric OK; proxy_record_metric OK; proxy_increment_metric OK",
         "qh: define_metric 1 'conf_gauge &n0; record_metric $0 10; increment_metric $0 -3; increment_metric $0 5; "
         "get_metric $0 &l", ["define_metric OK *", "record_metric OK", "increment_metric OK", "increment_metric OK",
                              "get_metric OK 12"], check=series("conf_gauge", 12)),
    Case("metric.histogram", "proxy_define_metric OK; proxy_record_metric OK; proxy_get_metric; proxy_increment_metric "
         "BAD_ARGUMENT", "qh: define_metric 2 'conf_histogram &n0; record_metric $0 10; record_metric $0 20; "
         "increment_metric $0 1; get_metric $0 &l",
         ["define_metric OK *", "record_metric OK", "record_metric OK", "increment_metric BAD_ARGUMENT",
          "get_metric BAD_ARGUMENT"], check=series("conf_histogram_count", 2),
         envoy={"check": None}, why="Envoy shows a histogram's values after its next flush"),
    Case("metric.decrement", "proxy_increment_metric BAD_ARGUMENT", "qh: define_metric 0 'conf_down &n0; "
         "increment_metric $0 3; increment_metric $0 -1; increment_metric $0 0; get_metric $0 &l",
         ["define_metric OK *", "increment_metric OK", "increment_metric BAD_ARGUMENT",
          "increment_metric BAD_ARGUMENT", "get_metric OK 3"]),
    Case("metric.record_counter", "proxy_record_metric OK", "qh: define_metric 0 'conf_recorded &n0; record_metric $0 3; "
         "record_metric $0 4; get_metric $0 &l", ["define_metric OK *", "record_metric OK", "record_metric OK",
                                                  "get_metric OK 7"]),
    Case("metric.same_name", "proxy_define_metric OK", "qh: define_metric 0 'conf_same &n0; increment_metric $0 2; "
         "define_metric 0 'conf_same &n1; get_metric $1 &l", ["define_metric OK *", "increment_metric OK",
                                                              "define_metric OK *", "get_metric OK 2"]),
    Case("metric.gauge_below_zero", "proxy_increment_metric OK", "qh: define_metric 1 'conf_below &n0; increment_metric $0 "
         "-3; get_metric $0 &l", ["define_metric OK *", "increment_metric OK", "get_metric OK *"]),
    Case("metric.unknown_type", "proxy_define_metric BAD_ARGUMENT", "qh: define_metric 3 'x &n; define_metric 99 'x &n",
         ["define_metric BAD_ARGUMENT"] * 2),
    Case("metric.unknown", "proxy_record_metric NOT_FOUND; proxy_increment_metric NOT_FOUND; proxy_get_metric NOT_FOUND",
         "qh: record_metric 98765 1; increment_metric 98765 1; get_metric 98765 &l; increment_metric 98764 1",
         ["record_metric NOT_FOUND", "increment_metric NOT_FOUND", "get_metric NOT_FOUND",
          "increment_metric NOT_FOUND"]),
    Case("metric.memory", "proxy_define_metric INVALID_MEMORY_ACCESS; proxy_get_metric INVALID_MEMORY_ACCESS",
         "qh: define_metric 0 ! 3 &n; define_metric 0 'conf_m !; define_metric 0 'conf_m &n0; get_metric $0 !",
         ["define_metric INVALID_MEMORY_ACCESS"] * 2 + ["define_metric OK *", "get_metric INVALID_MEMORY_ACCESS"]),
    Case("metric.at_the_end", "proxy_increment_metric OK; proxy_on_log", "log: define_metric 0 'conf_log &n0; "
         "increment_metric $0 1; get_metric $0 &l", ["define_metric OK *", "increment_metric OK", "get_metric OK 1"]),
]
