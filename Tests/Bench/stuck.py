"""What the requests of one plugin see of another that never comes back from a callback: with and without that attack,
beside a process that merely uses as much CPU, and under Envoy."""

import http.client
import statistics
import subprocess
import sys

import load
import servers

STUCK = servers.ROOT / ".build/plugins/stuck-body.wasm"
ATTACKERS = 32
VICTIMS = 4
# Never quarantined, replaced without a wait: it is stuck all the time that it is attacked.
POLICY = "backoff: {initial: 1ms, max: 1ms}\nbudget: {interval: 60s, starts: 100000}\nspare: {keep: 0s}\n"
# Tables are read by people who wait: an Envoy that has not answered for so long does not answer.
ENVOY_WAITS = 5


def _start_bulkhead(directory, upstream):
    """A plugin that stamps headers, and behind it one that is stuck as soon as a request has a body."""
    stamp = servers.manifest("header-000", servers.PLUGIN, "phase: AUTHN, failStrategy: FAIL_CLOSE")
    stuck = servers.manifest("stuck", STUCK, "phase: STATS, failStrategy: FAIL_CLOSE", "stuck")
    return servers.run_bulkhead(
        directory, upstream, {"header-000": stamp, "stuck": stuck}, {"stuck": f"name: stuck\n{POLICY}"})


class _Attack:
    """32 connections that make the plugin loop, without a pause."""

    def __init__(self, server, seconds, script):
        self.process = subprocess.Popen(
            ["wrk", "-t", "1", "-c", str(ATTACKERS), "-d", f"{seconds + 2}s", "--timeout", "5s", "-s", str(script),
             f"http://127.0.0.1:{server.port}/"], stdout=subprocess.PIPE, text=True)

    def finish(self, server):
        """The answers of a second; each has to be the one that policy orders."""
        text, _ = self.process.communicate(timeout=60)
        return load.refusals(text, f"{server.name}, attack")


class _Busy:
    """As much CPU as a looping plugin, and nothing else."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, "-c", "while True: pass"])

    def finish(self, _):
        self.process.kill()
        self.process.wait()


def _envoy_row(directory, upstream, started, script):
    server = servers.start_envoy_modules(directory / "envoy-stuck", upstream, [servers.PLUGIN, STUCK])
    started.append(server)
    server.wait_until(lambda status, *_: status == 200, "an answer", 120)
    before = load.run_wrk(server, VICTIMS, 1)
    attack = subprocess.Popen(
        ["wrk", "-t", "1", "-c", "1", "-d", "1s", "-s", str(script), f"http://127.0.0.1:{server.port}/"],
        stdout=subprocess.DEVNULL)
    attack.wait(60)
    try:
        server.get(timeout=ENVOY_WAITS)
        after = "answers"
    except (OSError, http.client.HTTPException):
        after = f"no answer in {ENVOY_WAITS} s: its one thread loops"
    # It does not heed SIGTERM any more.
    server.process.kill()
    return (
        f"| envoy, one request that loops | {before.requests_per_second:,.0f} before | - | {before.p99_microseconds:,.0f} before "
        f"| {after} |")


def tables(chosen, directory, started, say):
    """The Markdown, behind an empty line."""
    upstream = next(server for server in started if server.name == "nginx")
    script = directory / "attack.lua"
    script.write_text('wrk.method = "POST"\nwrk.body = "body"\n')
    server = _start_bulkhead(directory / "bulkhead-stuck", upstream)
    started.append(server)
    load.check(server, 1)
    load.run_wrk(server, VICTIMS, 1)
    rows = {
        "no attack": lambda: None,
        "a process elsewhere that loops": _Busy,
        f"a plugin that loops, {ATTACKERS} connections": lambda: _Attack(server, chosen.seconds, script),
    }
    samples, ordered = {}, {}
    for number in range(1, chosen.rounds + 1):
        for row, begin in rows.items():
            beside = begin()
            try:
                # An answer other than 200 ends the benchmark.
                samples.setdefault(row, []).append(load.run_wrk(server, VICTIMS, chosen.seconds))
            finally:
                refused = beside.finish(server) if beside else None
            ordered.setdefault(row, []).append(refused)
        say(f"stuck plugin: round {number} of {chosen.rounds} done")
    load.check(server, 1)
    lines = ["", f"| beside {VICTIMS} connections whose requests pass another plugin of the same chain | req/s | p50 us | "
             "p99 us | what the attackers get |", "|---|---:|---:|---:|---|"]
    for row, found in samples.items():
        refused = [value for value in ordered[row] if value is not None]
        rate, middle, late = (
            statistics.median(getattr(sample, name) for sample in found)
            for name in ("requests_per_second", "median_microseconds", "p99_microseconds"))
        told = f"503, {statistics.median(refused):,.0f} a second" if refused else "-"
        lines.append(f"| {row} | {rate:,.0f} | {middle:,.0f} | {late:,.0f} | {told} |")
    if servers.ENVOY.exists():
        lines.append(_envoy_row(directory, upstream, started, script))
        say("stuck plugin: envoy done")
    return lines
