"""Contexts: creation, order of callbacks, done, log, delete, the effective context."""

from case import Case

CASES = [
    Case("try", "proxy_on_request_headers", "qh: get_header_map_value 0 'x-a &s; get_header_map_pairs 0 &p; get_header_map_size 0 &n| ph: get_header_map_pairs 2 &p; get_property 'plugin_name &s; get_property 'plugin_root_id &s;get_property 'plugin_vm_id &s", headers=(("x-a","1"),("x-A","2"))),
]
