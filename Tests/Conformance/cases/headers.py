"""Header maps."""

from case import Case, HEADERS_AND_UP

A = (("x-a", "1"),)
TWO = (("x-a", "1"), ("x-a", "2"))
MAPS = "proxy_get_header_map_"

CASES = [
    # get_header_map_value
    Case("headers.get", "proxy_get_header_map_value OK", "qh: get_header_map_value 0 'x-a &s; get_header_map_value 0 "
         "'X-A &s; get_header_map_value 0 ':path &s; get_header_map_value 0 ':method &s; get_header_map_value 0 "
         "':authority &s; get_header_map_value 0 ':scheme &s; get_header_map_value 0 'host &s",
         ["get_header_map_value OK '1'", "get_header_map_value OK '1'", "get_header_map_value OK '/p?q=1'",
          "get_header_map_value OK 'GET'", "get_header_map_value OK 'conformance.test'",
          "get_header_map_value OK 'http'", "get_header_map_value OK 'conformance.test'"], headers=A, path="/p?q=1"),
    Case("headers.get_several", "proxy_get_header_map_value OK", "qh: get_header_map_value 0 'x-a &s",
         ["get_header_map_value OK '1,2'"], headers=TWO,
         envoy={"ops": ["get_header_map_value OK '1'"]},
         why="Envoy shows the first value only: a plugin that checks it would miss the others"),
    Case("headers.get_empty", "proxy_get_header_map_value OK", "qh: get_header_map_value 0 'x-a &s",
         ["get_header_map_value OK ''"], headers=(("x-a", ""),)),
    Case("headers.get_missing", "proxy_get_header_map_value NOT_FOUND", "qh: get_header_map_value 0 'x-none &s; "
         "get_header_map_value 0 ' &s", ["get_header_map_value NOT_FOUND", "get_header_map_value NOT_FOUND"],
         abi=HEADERS_AND_UP),
    Case("headers.get_missing_0_1_0", "proxy_get_header_map_value OK", "qh: get_header_map_value 0 'x-none &s",
         ["get_header_map_value OK ''"], abi=("0.1.0",)),
    Case("headers.get_response", "proxy_get_header_map_value OK", "ph: get_header_map_value 2 ':status &s; "
         "get_header_map_value 2 'x-b &s", ["get_header_map_value OK '203'", "get_header_map_value OK '2'"],
         upstream={"status": 203, "headers": [["x-b", "2"]]}),
    Case("headers.get_unknown_map", "proxy_get_header_map_value BAD_ARGUMENT",
         "qh: get_header_map_value 8 'x-a &s; get_header_map_value 99 'x-a &s; get_header_map_value -1 'x-a &s",
         ["get_header_map_value BAD_ARGUMENT"] * 3, headers=A),
    Case("headers.get_memory", "proxy_get_header_map_value INVALID_MEMORY_ACCESS",
         "qh: get_header_map_value 0 ! 3 &s; get_header_map_value 0 'x-a ! !; get_header_map_value 0 4096 -1 &s",
         ["get_header_map_value INVALID_MEMORY_ACCESS"] * 3, headers=A),
    Case("headers.get_no_memory_left", "proxy_get_header_map_value INVALID_MEMORY_ACCESS",
         "qh: oom 1; get_header_map_value 0 'x-a &s; oom 0", ["get_header_map_value INVALID_MEMORY_ACCESS"], headers=A),
    Case("headers.get_too_early", "proxy_get_header_map_value", "qh: get_header_map_value 2 ':status &s; "
         "get_header_map_value 1 'x &s; get_header_map_value 3 'x &s; get_header_map_value 6 ':status &s; "
         "get_header_map_value 7 'x &s; get_header_map_value 4 'x &s; get_header_map_value 5 'x &s",
         {"": ["get_header_map_value NOT_FOUND"] * 7, "0.1.0": ["get_header_map_value OK ''"] * 7},
         envoy={"ops": ["get_header_map_value BAD_ARGUMENT"] * 7},
         why="in a map that is not there, no key is; Envoy says BAD_ARGUMENT, at which SDKs end the plugin"),
    Case("headers.get_request_later", "proxy_get_header_map_value", "ph: get_header_map_value 0 'x-a &s| pb1: "
         "get_header_map_value 0 'x-a &s; get_header_map_value 2 'x-b &s", ["get_header_map_value OK '1'"] * 2 +
         ["get_header_map_value OK '2'"], headers=A, upstream={"headers": [["x-b", "2"]]},
         envoy={"ops": ["get_header_map_value BAD_ARGUMENT"] * 3},
         why="Envoy forgets a map once it has been forwarded; here what has passed can still be read"),

    # get_header_map_pairs, get_header_map_size
    Case("headers.pairs", "proxy_get_header_map_pairs OK", "qh: get_header_map_pairs 0 &p",
         ["get_header_map_pairs OK {:*=*,:*=*,:*=*,:*=*,x-*x-a=1,x-a=2*}"],
         headers=TWO, path="/p?q=1"),
    Case("headers.pairs_response", "proxy_get_header_map_pairs OK", "ph: get_header_map_pairs 2 &p",
         ["get_header_map_pairs OK {:status=200,set-cookie=a;1,set-cookie=b,content-length=5*}"],
         upstream={"headers": [["Set-Cookie", "a;1"], ["set-cookie", "b"]]}),
    Case("headers.pairs_unknown_map", "proxy_get_header_map_pairs BAD_ARGUMENT",
         "qh: get_header_map_pairs 8 &p", ["get_header_map_pairs BAD_ARGUMENT"]),
    Case("headers.pairs_memory", "proxy_get_header_map_pairs INVALID_MEMORY_ACCESS", "qh: get_header_map_pairs 0 ! !",
         ["get_header_map_pairs INVALID_MEMORY_ACCESS"]),
    Case("headers.pairs_absent", "proxy_get_header_map_pairs", "qh: get_header_map_pairs 1 &p; get_header_map_pairs 2 "
         "&p; get_header_map_pairs 3 &p; get_header_map_pairs 4 &p; get_header_map_pairs 6 &p",
         ["get_header_map_pairs OK {}"] * 5),
    Case("headers.size", "proxy_get_header_map_size OK", "ph: remove_header_map_value 2 'x-envoy-upstream-service-time; get_header_map_pairs 2 &z; "
         "get_header_map_size 2 &n",
         ["remove_header_map_value OK", "get_header_map_pairs OK 49", "get_header_map_size OK 49"],
         envoy={"ops": ["remove_header_map_value OK", "get_header_map_pairs OK 49", "get_header_map_size OK 25"]},
         why="the specification has the size of the serialized pairs; Envoy counts names and values alone"),
    Case("headers.size_unknown_map", "proxy_get_header_map_size BAD_ARGUMENT", "qh: get_header_map_size 8 &n",
         ["get_header_map_size BAD_ARGUMENT"]),
    Case("headers.size_memory", "proxy_get_header_map_size INVALID_MEMORY_ACCESS", "qh: get_header_map_size 0 !",
         ["get_header_map_size INVALID_MEMORY_ACCESS"]),
    Case("headers.size_absent", "proxy_get_header_map_size", "qh: get_header_map_size 1 &n; get_header_map_size 2 &n; "
         "get_header_map_size 4 &n; get_header_map_size 6 &n", ["get_header_map_size OK 0"] * 4,
         envoy={"ops": ["get_header_map_size BAD_ARGUMENT"] * 4},
         why="what cannot be read has no size, as proxy_get_header_map_pairs says in both; Envoy refuses to tell"),

    # add
    Case("headers.add", "proxy_add_header_map_value OK", "qh: add_header_map_value 0 'x-b '2; add_header_map_value 0 "
         "'x-a '2; add_header_map_value 0 'X-Other '3", ["add_header_map_value OK"] * 3, headers=A,
         sent={"headers": {"x-a": "1,2", "x-b": "2", "x-other": "3"}}),
    Case("headers.add_response", "proxy_add_header_map_value OK", "ph: add_header_map_value 2 'x-b '2; "
         "add_header_map_value 2 'x-b '3", ["add_header_map_value OK"] * 2, answer_headers={"x-b": "2,3"}),
    Case("headers.add_too_early", "proxy_add_header_map_value BAD_ARGUMENT", "qh: add_header_map_value 2 'x-b '2; "
         "add_header_map_value 1 'x-b '2; add_header_map_value 3 'x-b '2", ["add_header_map_value BAD_ARGUMENT"] * 3,
         answer_headers={"x-b": None}),
    Case("headers.add_too_late", "proxy_add_header_map_value", "ph: add_header_map_value 0 'x-b '2",
         ["add_header_map_value BAD_ARGUMENT"], sent={"headers": {"x-b": None}}),
    Case("headers.add_unknown_map", "proxy_add_header_map_value BAD_ARGUMENT", "qh: add_header_map_value 8 'x-b '2",
         ["add_header_map_value BAD_ARGUMENT"]),
    Case("headers.add_read_only_map", "proxy_add_header_map_value BAD_ARGUMENT", "qh: add_header_map_value 4 'x-b '2; "
         "add_header_map_value 5 'x-b '2; add_header_map_value 6 'x-b '2; add_header_map_value 7 'x-b '2",
         ["add_header_map_value BAD_ARGUMENT"] * 4),
    Case("headers.add_memory", "proxy_add_header_map_value INVALID_MEMORY_ACCESS", "qh: add_header_map_value 0 ! 3 'x; "
         "add_header_map_value 0 'x-b ! 3", ["add_header_map_value INVALID_MEMORY_ACCESS"] * 2),
    Case("headers.add_empty_value", "proxy_add_header_map_value OK", "qh: add_header_map_value 0 'x-b '; "
         "get_header_map_value 0 'x-b &s", ["add_header_map_value OK", "get_header_map_value OK ''"],
         sent={"headers": {"x-b": ""}}),
    Case("headers.add_hostile", "proxy_add_header_map_value", "qh: add_header_map_value 0 'x-b 'a%0d%0ax-evil:%201; "
         "add_header_map_value 0 'x%0d%0ac '1; add_header_map_value 0 'x-d 'a%00b; add_header_map_value 0 ' 'x",
         ["add_header_map_value OK"] * 4, status=200,
         sent={"headers": {"x-evil": None, "x-b": "a  x-evil: 1", "x-d": "a b"}}, envoy={"status": 503, "sent": False},
         why="a value's control bytes become spaces, an entry with an invalid name is left out; Envoy answers 503 when it "
             "comes to send them"),
    Case("headers.add_hostile_pseudo", "proxy_add_header_map_value", "qh: replace_header_map_value 0 ':path '/a%20b%0d%0a; "
         "remove_header_map_value 0 ':path; get_header_map_value 0 ':path &s",
         ["replace_header_map_value OK", "remove_header_map_value OK", "get_header_map_value OK '/a%2520b%250D%250A'"],
         status=200, envoy={"skip": True}, why="Envoy fails the request when it comes to send it"),

    # replace
    Case("headers.replace", "proxy_replace_header_map_value OK", "qh: replace_header_map_value 0 'x-a '9; "
         "replace_header_map_value 0 'x-new '1; get_header_map_value 0 'x-a &s", ["replace_header_map_value OK"] * 2 +
         ["get_header_map_value OK '9'"], headers=TWO, sent={"headers": {"x-a": "9", "x-new": "1"}}),
    Case("headers.replace_pseudo", "proxy_replace_header_map_value OK", "qh: replace_header_map_value 0 ':path '/z?1; "
         "replace_header_map_value 0 ':method 'PUT; replace_header_map_value 0 ':authority 'other.test; "
         "get_header_map_value 0 ':path &s", ["replace_header_map_value OK"] * 3 + ["get_header_map_value OK '/z?1'"],
         sent={"path": "/z?1", "method": "PUT", "headers": {"host": "other.test"}}),
    Case("headers.replace_host", "proxy_replace_header_map_value OK", "qh: replace_header_map_value 0 'host "
         "'other.test; get_header_map_value 0 ':authority &s", ["replace_header_map_value OK",
          "get_header_map_value OK 'other.test'"], sent={"headers": {"host": "other.test"}}),
    Case("headers.replace_status", "proxy_replace_header_map_value OK", "ph: replace_header_map_value 2 ':status '418",
         ["replace_header_map_value OK"], status=418),
    Case("headers.replace_unknown_map", "proxy_replace_header_map_value BAD_ARGUMENT",
         "qh: replace_header_map_value 8 'x '2; replace_header_map_value 2 'x '2",
         ["replace_header_map_value BAD_ARGUMENT"] * 2),
    Case("headers.replace_memory", "proxy_replace_header_map_value INVALID_MEMORY_ACCESS",
         "qh: replace_header_map_value 0 ! 3 'x; replace_header_map_value 0 'x ! 3",
         ["replace_header_map_value INVALID_MEMORY_ACCESS"] * 2),

    # remove
    Case("headers.remove", "proxy_remove_header_map_value OK", "qh: remove_header_map_value 0 'x-a; "
         "remove_header_map_value 0 'x-none; remove_header_map_value 0 'X-C",
         ["remove_header_map_value OK"] * 3, headers=(*TWO, ("x-c", "3")), sent={"headers": {"x-a": None, "x-c": None}}),
    Case("headers.remove_response", "proxy_remove_header_map_value OK", "ph: remove_header_map_value 2 'x-b",
         ["remove_header_map_value OK"], upstream={"headers": [["x-b", "2"]]}, answer_headers={"x-b": None}),
    Case("headers.remove_unknown_map", "proxy_remove_header_map_value BAD_ARGUMENT",
         "qh: remove_header_map_value 8 'x; remove_header_map_value 2 'x", ["remove_header_map_value BAD_ARGUMENT"] * 2),
    Case("headers.remove_memory", "proxy_remove_header_map_value INVALID_MEMORY_ACCESS",
         "qh: remove_header_map_value 0 ! 3", ["remove_header_map_value INVALID_MEMORY_ACCESS"]),

    # set all
    Case("headers.set", "proxy_set_header_map_pairs OK", "qh: set_header_map_pairs 0 {:method=PUT,:path=/set,"
         ":authority=set.test,:scheme=http,x-s=1,x-s=2}; get_header_map_pairs 0 &p",
         ["set_header_map_pairs OK", "get_header_map_pairs OK {*x-s=1,x-s=2}"], headers=A,
         sent={"method": "PUT", "path": "/set", "headers": {"host": "set.test", "x-s": "1,2", "x-a": None}},
         envoy={"sent": False, "status": 404}, why="Envoy finds no route for such a request"),
    Case("headers.set_response", "proxy_set_header_map_pairs OK", "ph: set_header_map_pairs 2 {:status=299,x-s=1}",
         ["set_header_map_pairs OK"], status=299, answer_headers={"x-s": "1", "x-b": None},
         upstream={"headers": [["x-b", "2"]]}),
    Case("headers.set_unknown_map", "proxy_set_header_map_pairs BAD_ARGUMENT", "qh: set_header_map_pairs 8 {a=b}; "
         "set_header_map_pairs 2 {a=b}", ["set_header_map_pairs BAD_ARGUMENT"] * 2),
    Case("headers.set_memory", "proxy_set_header_map_pairs INVALID_MEMORY_ACCESS", "qh: set_header_map_pairs 0 ! 30",
         ["set_header_map_pairs INVALID_MEMORY_ACCESS"]),
    Case("headers.set_malformed", "proxy_set_header_map_pairs", "ph: set_header_map_pairs 2 '%ff%ff%ff%ffabc",
         ["set_header_map_pairs BAD_ARGUMENT"], status=200,
         envoy={"ops": ["set_header_map_pairs OK"], "status": 502},
         why="Envoy takes what it cannot read for no headers, and sends 502 for want of a status"),
]
