#!/usr/bin/env python3
"""Bulkhead against Envoy on this machine: same plugin, same load, same upstream, one proxy thread each.

Configurations run in turn, round after round, so that whatever else the machine does hits all of them; the report has
medians. It reports and never fails for being slow. It fails where a configuration does not do what it is taken for: an
answer other than 200, a plugin's header missing.
"""

import argparse
import datetime
import fnmatch
import os
import pathlib
import platform
import signal
import subprocess
import sys
import tempfile
import time

import bodies
import load
import recovery
import report
import servers
import storms
import stuck
import vms

CHAINS = (0, 1, 10, 100)
# The tables beside that of configurations, in their order: each can be asked for alone, or left out.
TABLES = {
    "bodies": bodies.tables,
    "recovery": lambda _, *rest: recovery.tables(*rest),
    "stuck": stuck.tables,
    "storms": storms.tables,
    "vms": vms.tables,
    "ring": lambda *_: ["", *ring_table()],
}


def say(text):
    print(text, file=sys.stderr, flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds, each of which measures everything once; of storms "
                        "at most 2, unless --only names them (5)")
    parser.add_argument("--seconds", type=int, default=5, help="length of one measurement (5)")
    parser.add_argument("--only", default="*", help="configurations, as patterns with commas: 'bulkhead-*,envoy-1'; or "
                        f"names of other tables, which then are all there is: {', '.join(TABLES)}")
    parser.add_argument("--connections", default="1,32", help="numbers of connections (1,32)")
    parser.add_argument("--storms", default="*", help="storms, as patterns of CONFIGURATION/ROW with semicolons: "
                        "'default*/8*;auth/none'")
    for table in TABLES:
        parser.add_argument(f"--no-{table}", action="store_true", help=f"leave the table {table} out")
    parser.add_argument("--output", type=pathlib.Path, help="write the Markdown there too")
    chosen = parser.parse_args()
    if chosen.rounds < 1 or not 1 <= chosen.seconds <= 600:
        parser.error("--rounds has to be 1 or more, --seconds 1 to 600")
    try:
        chosen.connections = tuple(sorted({int(text) for text in chosen.connections.split(",")}))
        if chosen.connections[0] < 1:
            raise ValueError
    except ValueError:
        parser.error("--connections takes numbers with commas between them")
    asked = chosen.only.split(",")
    chosen.only = ",".join(name for name in asked if name not in TABLES)
    # There are many of them: who wants more rounds asks for them by name.
    chosen.storm_rounds = chosen.rounds if "storms" in asked else min(chosen.rounds, 2)
    chosen.tables = [
        name for name in TABLES
        if not getattr(chosen, f"no_{name}") and (name in asked or not any(other in TABLES for other in asked))]
    return chosen


def configurations(patterns):
    """Name, number of plugins and starter of each configuration that was asked for."""
    known = [(f"bulkhead-{count}", count, servers.start_bulkhead) for count in CHAINS]
    if servers.ENVOY.exists():
        known += [(f"envoy-{count}", count, servers.start_envoy) for count in CHAINS]
        known.append(("envoy-ext_proc", 1, servers.start_ext_proc))
    else:
        say("Envoy is not here (make bench fetches it where there is one for this machine): Bulkhead alone")
    wanted = [entry for entry in known if any(fnmatch.fnmatch(entry[0], pattern) for pattern in patterns.split(","))]
    if not wanted:
        raise servers.BenchError(f"no configuration matches {patterns}; there are {', '.join(n for n, *_ in known)}")
    return wanted


def measure_memory(running, results):
    for name, server in running.items():
        results.memory[name] = sum(servers.pss_bytes(pid) for pid in server.pids())
        worker = servers.worker_bytes(server)
        if worker is not None:
            results.workers[name] = worker


def machine():
    model = "unknown CPU"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{os.cpu_count()} x {model}, Linux {platform.release()}, {datetime.date.today()}"


def ring_table():
    binary = servers.RELEASE / "bulkhead-ringbench"
    if not binary.exists():
        return [f"{binary} is not built."]
    done = subprocess.run([str(binary)], capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise servers.BenchError(f"{binary} failed: {done.stderr}")
    return done.stdout.strip().splitlines()


def configuration_tables(chosen, directory, started):
    results = report.Results()
    upstream = started[0]
    wanted = configurations(chosen.only)
    running = {}
    for name, plugins, start in wanted:
        say(f"starting {name}")
        running[name] = start(directory / name, upstream, plugins)
        started.append(running[name])
        load.check(running[name], plugins)
    total = len(wanted) * len(chosen.connections) * (chosen.rounds * chosen.seconds + 1)
    say(f"{len(wanted)} configurations, {chosen.rounds} rounds of {chosen.seconds} s: about {total // 60 + 1} minutes")
    for connections in chosen.connections:
        for server in running.values():
            load.run_wrk(server, connections, 1)
    begun = time.monotonic()
    for number in range(1, chosen.rounds + 1):
        for connections in chosen.connections:
            for name, server in running.items():
                results.add(name, connections, load.run_wrk(server, connections, chosen.seconds))
        say(f"round {number} of {chosen.rounds} done after {time.monotonic() - begun:.0f} s")
    for name, plugins, _ in wanted:
        load.check(running[name], plugins)
    measure_memory(running, results)
    lines = report.throughput_table(results, [name for name, *_ in wanted], chosen.connections) + [""]
    lines += report.budget_table(results, chosen.connections) + [""]
    return lines + report.memory_table(results)


def main():
    chosen = arguments()
    # Ends the same way as Ctrl-C, through `finally`.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = []
    try:
        if not servers.PLUGIN.exists():
            raise servers.BenchError(f"{servers.PLUGIN} is missing: make plugins")
        with tempfile.TemporaryDirectory(prefix="bulkhead-bench-") as temporary:
            lines = [
                f"Machine: {machine()}. Medians of {chosen.rounds} rounds of {chosen.seconds} s; one nginx worker, one proxy "
                "thread unless said. In the first tables, wrk with one thread, and a plugin that reads one header and adds "
                "two.", ""]
            directory = pathlib.Path(temporary)
            try:
                started.append(servers.start_upstream(directory / "nginx"))
                if chosen.only:
                    lines += configuration_tables(chosen, directory, started)
                for name in chosen.tables:
                    lines += TABLES[name](chosen, directory, started, say)
            finally:
                for server in reversed(started):
                    server.stop()
    except servers.BenchError as error:
        say(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        say("bench: interrupted")
        return 130
    text = "\n".join(lines) + "\n"
    print(text, end="")
    if chosen.output:
        chosen.output.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
