"""From a crash to the next request that is filtered again: with a standby worker, without one, and Envoy's FAIL_RELOAD."""

import socket
import statistics
import time

import servers

FAULTY = servers.ROOT / ".build/plugins/faulty.wasm"
CRASHES = 30
# Keys of the policy, how many workers are there before each crash, and the budget.
POLICIES = {
    "bulkhead-standby": ("standby: 1", 2, 1_000),
    "bulkhead-alone": ("standby: 0", 1, 500),
    "bulkhead-replaced": ("standby: 0\nrenewals: 0", 1, None),
}
# Else the crashes would be those of a suspect worker, and nobody would have to wait for it.
UNSUSPECTED = "suspects: {lane: off}"
# Nothing of what is measured is a wait that the policy orders.
AT_ONCE = "backoff: {initial: 1ms, max: 1ms}\nbudget: {interval: 60s, starts: 100000}\nspare: {keep: 0s}\n"


class Client:
    """One connection that stays; http.client would take longer than what is measured."""

    def __init__(self, port):
        self.port = port
        self.socket = None

    def get(self, headers=""):
        """Status, and whether the plugin was there for the response; 0 where the connection ended, as Envoy ends those of
        a plugin that crashed."""
        try:
            return self._get(headers)
        except OSError:
            self.socket = None
            return 0, False

    def _get(self, headers):
        if self.socket is None:
            self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=30)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(f"GET / HTTP/1.1\r\nhost: bench\r\n{headers}\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer:
            piece = self.socket.recv(65_536)
            if not piece:
                raise ConnectionResetError
            answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
        left = int(fields.get(b"content-length", b"0")) - len(body)
        while left > 0:
            left -= len(self.socket.recv(left))
        if fields.get(b"connection") == b"close":
            self.socket.close()
            self.socket = None
        return int(head.split(b" ", 2)[1]), b"x-faulty" in fields


def _start_bulkhead(directory, upstream, policy):
    return servers.run_bulkhead(
        directory, upstream,
        {"faulty": servers.manifest("faulty", FAULTY, "failStrategy: FAIL_RELOAD", "recovery")},
        {"recovery": f"name: recovery\n{AT_ONCE}{policy}\n"})


def start_envoy_reload(directory, upstream, backoff, loops=1):
    """With so many threads; it reloads after so long, and 2 ms is the shortest: at 1 ms Envoy 1.40 divides by zero."""
    plugin = {
        "name": "faulty",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": "faulty", "root_id": "faulty", "failure_policy": "FAIL_RELOAD",
                "reload_config": {"backoff": {"base_interval": backoff, "max_interval": backoff}},
                "vm_config": {
                    "vm_id": "faulty", "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": str(FAULTY)}},
                },
            },
        },
    }
    return servers.run_envoy(
        directory.name, directory, lambda port: servers.envoy_configuration(port, upstream, [plugin]), loops)


def _measure(server, settled):
    """Times in microseconds: of a request as usual, from the failed answer to the next filtered one, and the answers in
    between that were not filtered."""
    client, crasher = Client(server.port), Client(server.port)
    usual, recovery, refused = [], [], 0
    for _ in range(CRASHES):
        deadline = time.monotonic() + 30
        while not settled(server):
            if time.monotonic() > deadline:
                raise servers.BenchError(f"{server.name} does not recover:\n{server.tail()}")
            time.sleep(0.02)
        for _ in range(20):
            begin = time.perf_counter_ns()
            if client.get() != (200, True):
                raise servers.BenchError(f"{server.name}: a request was not filtered without a crash")
            usual.append((time.perf_counter_ns() - begin) / 1e3)
        status, _ = crasher.get("x-fault: trap\r\n")
        begin = time.perf_counter_ns()
        if 0 < status < 500:
            raise servers.BenchError(f"{server.name}: the request that crashed its plugin was answered with {status}")
        while client.get() != (200, True):
            refused += 1
            if server.process.poll() is not None or time.perf_counter_ns() - begin > 30e9:
                raise servers.BenchError(f"{server.name}: nothing is filtered any more after a crash:\n{server.tail()}")
        recovery.append((time.perf_counter_ns() - begin) / 1e3)
    return statistics.median(usual), statistics.median(recovery), max(recovery), refused


def tables(directory, started, say):
    """The Markdown, behind an empty line."""
    upstream = next(server for server in started if server.name == "nginx")
    rows, notes = [], []
    knows_suspects = servers.refusal_of(directory / "recovery-suspects", UNSUSPECTED) is None
    for name, (policy, workers, budget) in POLICIES.items():
        refusal = servers.refusal_of(directory / f"{name}-keys", policy)
        if refusal is not None:
            notes.append(f"Not measured: {name}, whose policy this build refuses.")
            say(f"{notes[-1]} It says: {refusal.splitlines()[-1]}")
            continue
        if knows_suspects:
            policy += f"\n{UNSUSPECTED}"
        server = _start_bulkhead(directory / name, upstream, policy)
        started.append(server)
        server.wait_until(lambda status, *_: status == 200, "an answer", 120)
        # After a crash there may be a spare more.
        rows.append((name, budget, _measure(server, lambda server, workers=workers: server.ready_workers() >= workers)))
        say(f"recovery: {name} done")
    if servers.ENVOY.exists():
        server = start_envoy_reload(directory / "envoy-reload", upstream, "0.002s")
        started.append(server)
        server.wait_until(lambda status, *_: status == 200, "an answer", 120)
        rows.append(("envoy FAIL_RELOAD", None, _measure(server, lambda server: server.get()[0] == 200)))
        say("recovery: envoy done")
    lines = ["", f"| a crash (trap) to the next filtered request, {CRASHES} times | p50 us | longest us | a request as usual,"
             " p50 us | answers in between that were refused | budget | reached |", "|---|---:|---:|---:|---:|---:|---|"]
    for name, budget, (usual, median, longest, refused) in rows:
        reached = "-" if budget is None else "yes" if median <= budget else "no"
        bound = "-" if budget is None else f"<= {budget:,}"
        lines.append(f"| {name} | {median:,.0f} | {longest:,.0f} | {usual:,.0f} | {refused} | {bound} | {reached} |")
    return lines + ([""] + notes if notes else [])
