"""What a case is: what is sent, what the plugin does, and what has to come of it."""

import dataclasses
import re

ABIS = ("0.1.0", "0.2.0", "0.2.1")
HEADERS_AND_UP = ("0.2.0", "0.2.1")


@dataclasses.dataclass
class Case:
    """One behaviour. `covers` names functions or callbacks, each with the documented statuses that the case shows.

    Expected lines may have `*` for anything. What differs between ABIs is a dictionary by ABI, with "" for the others.
    """

    name: str
    covers: str
    script: str
    # Lines of the journal that are hostcalls' results, in order; None leaves them alone.
    ops: object = None
    # Lines of the journal that are callbacks, in order; None leaves them alone.
    callbacks: object = None
    abi: tuple = ABIS
    setup: str = "one"
    plugin: str = "a"
    # The scripts and expected hostcall lines of further plugins, by name.
    others: dict = dataclasses.field(default_factory=dict)
    other_ops: dict = dataclasses.field(default_factory=dict)

    # What the client sends.
    method: str = "GET"
    path: str = "/"
    headers: tuple = ()
    body: object = None  # bytes, or a list of pieces that go chunked
    trailers: object = None
    upstream: dict = dataclasses.field(default_factory=dict)  # what the upstream answers with, see peers.Upstream

    # What the client gets.
    status: object = None
    answer_headers: dict = dataclasses.field(default_factory=dict)
    answer_body: object = None
    answer_trailers: object = None
    broken: object = None

    # What the upstream gets: None leaves it alone, False is nothing at all.
    sent: object = None
    # What calls out bring to the upstream (paths under /call), in order.
    calls: object = None

    # What the host's log has to have.
    log: object = None
    # A line that the journal has once the case is over.
    until: str = "del s0"
    seconds: float = 3.0
    # What differs under Envoy: field names to values; with the reason why Bulkhead does not do the same.
    envoy: dict = dataclasses.field(default_factory=dict)
    why: str = ""
    # Checked by a function of (run, journal) instead: returns what is wrong, or None.
    check: object = None

    def expected(self, field, abi, host):
        """The value of a field for that ABI under that host."""
        value = self.envoy.get(field, getattr(self, field)) if host == "envoy" else getattr(self, field)
        if isinstance(value, dict) and value and set(value) <= {*ABIS, ""}:
            value = value.get(abi, value.get(""))
        return value

    def coverage(self):
        """(function, status) of `covers`; a status of "" where it names none."""
        for part in self.covers.split(";"):
            function, *statuses = part.split()
            for status in statuses or [""]:
                yield function, status


def matches(pattern, text):
    if pattern is None or text is None:
        return pattern is text
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), text, re.DOTALL) is not None


def lines_match(patterns, lines):
    return len(patterns) == len(lines) and all(map(matches, patterns, lines))
