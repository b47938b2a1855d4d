"""What VMs cost: requests a second and memory with one, with four, and with one for each stream."""

import statistics

import load
import servers

KINDS = ("1", "4", "stream")
CONNECTIONS = (4, 32)


def tables(chosen, directory, started, say):
    """The Markdown, behind an empty line."""
    upstream = next(server for server in started if server.name == "nginx")
    running, notes = {}, []
    for kind in KINDS:
        refusal = servers.refusal_of(directory / f"vms-keys-{kind}", f"vms: {kind}")
        if refusal is not None:
            notes.append(f"Not measured: a policy with `vms: {kind}`, which this build refuses.")
            say(f"{notes[-1]} It says: {refusal.splitlines()[-1]}")
            continue
        running[kind] = servers.run_bulkhead(
            directory / f"vms-{kind}", upstream,
            {"header": servers.manifest("header", servers.PLUGIN, "failStrategy: FAIL_CLOSE", "vms")},
            {"vms": f"name: vms\nextends: default\nvms: {kind}\n"})
        started.append(running[kind])
        load.check(running[kind], 1)
    samples = {}
    for number in range(1, chosen.rounds + 1):
        for connections in CONNECTIONS:
            for kind, server in running.items():
                sample = load.run_wrk(server, connections, chosen.seconds)
                samples.setdefault((kind, connections), []).append(sample)
        if running:
            say(f"VMs: round {number} of {chosen.rounds} done")
    if not running:
        return ["", *notes]
    lines = ["", "| VMs of the one worker | " + " | ".join(
        f"{connections} conn. req/s | p50 us | p99 us" for connections in CONNECTIONS)
        + " | the worker, PSS MiB |", "|---|" + "---:|---:|---:|" * len(CONNECTIONS) + "---:|"]
    for kind, server in running.items():
        cells = [
            f"{statistics.median(getattr(sample, name) for sample in samples[kind, connections]):,.0f}"
            for connections in CONNECTIONS
            for name in ("requests_per_second", "median_microseconds", "p99_microseconds")]
        memory = servers.worker_bytes(server) / (1 << 20)
        lines.append(f"| vms: {kind} | {' | '.join(cells)} | {memory:.2f} |")
    return lines + ([""] + notes if notes else [])
