"""What reading bodies costs, and what a hostcall that has to ask the front costs; the same plugins under Envoy beside it."""

import itertools
import statistics

import load
import servers

READER = servers.ROOT / ".build/plugins/bodyreader.wasm"
GETTER = servers.ROOT / ".build/plugins/shared-gets.wasm"
# Hostcalls per request, against none.
GETS = 50
BUDGET_CONNECTIONS = 32
CONNECTIONS = (BUDGET_CONNECTIONS, 4)


def _script(directory, size):
    """A script for wrk: a POST with that many bytes."""
    path = directory / f"post-{size}.lua"
    path.write_text(f'wrk.method = "POST"\nwrk.body = string.rep("x", {size})\n')
    return path


def _started(module, name, directory, started, upstream):
    found = {f"bulkhead-{name}": servers.start_bulkhead(directory / f"bulkhead-{name}", upstream, 1, module)}
    started.append(found[f"bulkhead-{name}"])
    if servers.ENVOY.exists():
        found[f"envoy-{name}"] = servers.start_envoy(directory / f"envoy-{name}", upstream, 1, module)
        started.append(found[f"envoy-{name}"])
    for server in found.values():
        server.wait_until(lambda status, *_: status == 200, "an answer", 120)
    return found


def _body_rows(chosen, directory, started, say):
    upstream = servers.start_body_upstream(directory / "body-upstream")
    started.append(upstream)
    running = _started(READER, "bodyreader", directory, started, upstream)
    samples = {}
    for number in range(1, chosen.rounds + 1):
        for (name, size), connections in itertools.product(servers.BODIES.items(), CONNECTIONS):
            options = ["-s", str(_script(directory, size))]
            for server_name, server in running.items():
                sample = load.run_wrk(server, connections, chosen.seconds, f"/body/{size}", options)
                key = name, connections, server_name
                samples.setdefault(key, []).append(sample.requests_per_second * 2 * size)
        say(f"bodies: round {number} of {chosen.rounds} done")
    lines = ["| bodies both ways through a plugin that reads every piece | Bulkhead, MB/s | Envoy V8, MB/s | ratio | "
             "budget | reached |", "|---|---:|---:|---:|---:|---|"]
    for name, connections in itertools.product(servers.BODIES, CONNECTIONS):
        ours, theirs = (
            statistics.median(samples[name, connections, key]) if (name, connections, key) in samples else None
            for key in ("bulkhead-bodyreader", "envoy-bodyreader"))
        ratio = ours / theirs if theirs else None
        # The load that all budgets are for; the other shows what the wakes cost where little is under way.
        budget = ">= 1.0" if connections == BUDGET_CONNECTIONS else "-"
        reached = "-" if ratio is None or budget == "-" else "yes" if ratio >= 1 else "no"
        lines.append(
            f"| {name}, {connections} connections | {ours / 1e6:,.0f} | "
            f"{'-' if theirs is None else f'{theirs / 1e6:,.0f}'} | "
            f"{'-' if ratio is None else f'{ratio:.2f}'} | {budget} | {reached} |")
    return lines


def _hostcall_rows(chosen, directory, started, say):
    upstream = next(server for server in started if server.name == "nginx")
    running = _started(GETTER, "shared-gets", directory, started, upstream)
    latencies = {}
    for server in running.values():
        load.check_gets(server, GETS)
    for number in range(1, chosen.rounds + 1):
        for server_name, server in running.items():
            for gets in (0, GETS):
                sample = load.run_wrk(server, 1, chosen.seconds, "/", ["-H", f"x-gets: {gets}"])
                latencies.setdefault((server_name, gets), []).append(sample.median_microseconds)
        say(f"hostcalls: round {number} of {chosen.rounds} done")
    lines = [f"| `proxy_get_shared_data`, one connection | p50 us, none | p50 us, {GETS} a request | us each |",
             "|---|---:|---:|---:|"]
    for server_name in running:
        none, many = (statistics.median(latencies[server_name, gets]) for gets in (0, GETS))
        lines.append(f"| {server_name} | {none:,.0f} | {many:,.0f} | {(many - none) / GETS:.2f} |")
    return lines


def tables(chosen, directory, started, say):
    """The Markdown of both, each behind an empty line."""
    return ["", *_body_rows(chosen, directory, started, say), "", *_hostcall_rows(chosen, directory, started, say)]
