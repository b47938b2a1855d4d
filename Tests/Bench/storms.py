"""What innocent clients see of an attacker who sends, at a given rate and however slow the server is, requests that kill the
plugin: under the crash policies that ship, with a VM per stream, with a plugin that is slow to start, and under Envoy.

Each figure is of a server of its own, started for it: nothing of one storm helps or hurts in the next one. Ratios are to the
row without killers of the same round."""

import collections
import dataclasses
import fnmatch
import itertools
import json
import re
import statistics
import subprocess
import time

import recovery
import servers

# What innocents send: connections that ask as fast as they are answered, and requests a second at fixed times.
CLOSED, PROBES = 4, 500
# The first loops tell what the killer looks like; the budget is about what comes after them.
FIRST_LOOPS = 10
CONFIGURE_MILLISECONDS = 6


@dataclasses.dataclass(frozen=True)
class Row:
    """A storm: killers a second, what they do and look like, and the budget: the least share that is still filtered, and
    the latest that all but a hundredth may be, in milliseconds."""

    name: str
    rate: int
    fault: str = "trap"
    share: float = 0
    late: float = 0
    killer: str = "same"
    extra: bool = False


ROWS = (
    Row("none", 0),
    Row("1 trap", 1),
    Row("8 traps", 8, share=0.95, late=2),
    Row("80 traps", 80, share=0.9, late=5),
    Row("400 traps", 400, share=0.7, late=5),
    Row("8 loops", 8, "loop", share=0.9, late=10),
    Row("80 loops", 80, "loop", share=0.7, late=10),
    # What suspicion cannot catch, or catches innocents with.
    Row("80 traps, each another request", 80, killer="new", extra=True),
    Row("80 traps, who look like the innocent", 80, killer="alike", extra=True),
    Row("8 loops, each another request", 8, "loop", killer="new", extra=True),
)


@dataclasses.dataclass(frozen=True)
class Configuration:
    """A server under storms. `policy` is one that ships, `keys` are what a policy of its own says instead; `failed` is how
    many requests of innocents one death may cost."""

    name: str
    strategy: str = "FAIL_CLOSE"
    policy: str = "default"
    keys: str = ""
    loops: int = 1
    slow_start: bool = False
    envoy_backoff: str = ""
    failed: int = 2
    extra: bool = False

    def start(self, directory, upstream):
        if self.envoy_backoff:
            return recovery.start_envoy_reload(directory, upstream, self.envoy_backoff, self.loops)
        spec = f"failStrategy: {self.strategy}"
        if self.slow_start:
            spec += f', pluginConfig: {{configure: "slow:{CONFIGURE_MILLISECONDS}"}}'
        policies = {"storms": f"name: storms\nextends: {self.policy}\n{self.keys}\n"} if self.keys else {}
        return servers.run_bulkhead(
            directory, upstream,
            {"faulty": servers.manifest("faulty", recovery.FAULTY, spec, "storms" if self.keys else self.policy)},
            policies, loops=self.loops)

    def rows(self):
        # One loop takes Envoy's thread for ever.
        return [
            row for row in ROWS if (self.extra or not row.extra) and not (self.envoy_backoff and row.fault == "loop")]


def _configurations():
    for loops in (1, 2):
        beside = "" if loops == 1 else ", 2 event loops"
        yield Configuration(f"default, open{beside}", "FAIL_OPEN", loops=loops)
        yield Configuration(f"default, closed{beside}", loops=loops, extra=loops == 1)
        yield Configuration(f"auth{beside}", policy="auth", loops=loops)
        yield Configuration(f"vms: stream{beside}", keys="vms: stream", loops=loops, failed=0, extra=loops == 1)
    yield Configuration(f"default, closed, configures for {CONFIGURE_MILLISECONDS} ms", slow_start=True)
    if servers.ENVOY.exists():
        # Envoy's own default, and the shortest that it takes.
        yield Configuration("Envoy FAIL_RELOAD", envoy_backoff="1s")
        yield Configuration("Envoy FAIL_RELOAD, back in 2 ms", envoy_backoff="0.002s")
        yield Configuration("Envoy FAIL_RELOAD, 2 threads", envoy_backoff="1s", loops=2)


@dataclasses.dataclass
class Sitting:
    """What one storm came to. `filtered` is a second, the other numbers are of all of it."""

    filtered: float
    unfiltered: int
    failed: int
    sent: int
    unsent: int
    deaths: int | None
    closed: dict
    probe: dict
    after: str


def _deaths(server):
    """How often the plugin has died: workers that ended though nobody asked them to, and VMs that ended within theirs."""
    total = 0
    for name, labels, value in re.findall(r"^(\w+)\{(.*)\} (\S+)$", server.control("/v1/metrics"), re.MULTILINE):
        reason = re.search(r'reason="([^"]*)"', labels)
        if name == "bulkhead_exits_total" and reason and reason.group(1) != "requested":
            total += int(float(value))
        if name == "bulkhead_vm_deaths_total":
            total += int(float(value))
    return total


def _state(server):
    return next(plugin["state"] for plugin in json.loads(server.control("/v1/plugins"))["plugins"])


def _is_filtered(status, headers, _):
    return status == 200 and ("x-faulty", "ok") in ((name.lower(), value) for name, value in headers)


def _sit(server, configuration, row, seconds, generator):
    server.wait_until(_is_filtered, "a filtered answer", 120)
    if configuration.policy == "auth":
        deadline = time.monotonic() + 30
        while server.ready_workers() < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
    is_bulkhead = not configuration.envoy_backoff
    before = _deaths(server) if is_bulkhead else 0
    done = subprocess.run(
        [generator, str(server.port), f"closed={CLOSED}", f"probes={PROBES}", f"rate={row.rate}", f"fault={row.fault}",
         f"killer={row.killer}", f"seconds={seconds}", f"after={FIRST_LOOPS if row.fault == 'loop' else 0}"],
        capture_output=True, text=True, timeout=seconds + 120, check=False)
    if done.returncode != 0:
        raise servers.BenchError(f"storm against {server.name} failed: {done.stderr or done.stdout}")
    figures = json.loads(done.stdout)
    closed, probe, killer = figures["closed"], figures["probe"], figures["killer"]
    after, deaths = "-", None
    if is_bulkhead:
        deaths = _deaths(server) - before
        # From the storm's last request on: the generator has waited for answers for at most a second already.
        time.sleep(1)
        after = _state(server)
    window = max(figures["seconds"], 1e-3)
    return Sitting(
        (closed["filtered"] + probe["filtered"]) / window, closed["unfiltered"] + probe["unfiltered"],
        sum(role[kind] for role in (closed, probe) for kind in ("failed", "broken", "late")), killer["sent"],
        killer["unsent"], deaths, closed, probe, after)


def wanted(patterns):
    """The configurations and rows that were asked for; the row without killers is always there, to compare with."""
    patterns = [pattern.strip() for pattern in patterns.split(";")]
    found = []
    for configuration in _configurations():
        rows = [
            row for row in configuration.rows()
            if any(fnmatch.fnmatch(f"{configuration.name}/{row.name}", pattern) for pattern in patterns)]
        if rows:
            found.append((configuration, [ROWS[0], *(row for row in rows if row.rate)]))
    if not found:
        names = "; ".join(configuration.name for configuration in _configurations())
        raise servers.BenchError(f"no storm matches {'; '.join(patterns)}; there are {names}, each with /ROW behind it")
    return found


def _known_to_this_build(asked, directory, say):
    """Without the configurations whose keys this build refuses, and what it says to those."""
    known, notes = [], []
    for number, (configuration, rows) in enumerate(asked):
        refusal = servers.refusal_of(directory / f"storms-keys-{number}", configuration.keys) if configuration.keys else None
        if refusal is None:
            known.append((configuration, rows))
        else:
            notes.append(f"Not measured: {configuration.name}, whose `{configuration.keys}` this build refuses.")
            say(f"{notes[-1]} It says: {refusal.splitlines()[-1]}")
    return known, notes


def tables(chosen, directory, started, say):
    """The Markdown, behind an empty line."""
    upstream = next(server for server in started if server.name == "nginx")
    generator = servers.compiled("storm", directory)
    asked, notes = _known_to_this_build(wanted(chosen.storms), directory, say)
    count = sum(len(rows) for _, rows in asked) * chosen.storm_rounds
    say(f"storms: {count} of {chosen.seconds} s, about {count * (chosen.seconds + 3) // 60 + 1} minutes")
    sittings, numbers = collections.defaultdict(list), itertools.count()
    for number in range(1, chosen.storm_rounds + 1):
        for configuration, rows in asked:
            for row in rows:
                server = configuration.start(directory / f"storm-{next(numbers)}", upstream)
                started.append(server)
                try:
                    sittings[configuration, row].append(_sit(server, configuration, row, chosen.seconds, generator))
                finally:
                    server.stop()
                    started.remove(server)
        say(f"storms: round {number} of {chosen.storm_rounds} done")
    return ["", *_figures(asked, sittings), "", *_verdicts(asked, sittings), *([""] + notes if notes else [])]


def _share(sittings, configuration, row):
    """The median over rounds of what was filtered, over what was without killers in the same round."""
    pairs = zip(sittings[configuration, row], sittings[configuration, ROWS[0]])
    return statistics.median(storm.filtered / none.filtered if none.filtered else 0 for storm, none in pairs)


def _a_death(found):
    """What one death has cost innocents: those who were refused, and those who passed a plugin that fails open."""
    deaths = sum(sitting.deaths or 0 for sitting in found)
    return sum(sitting.failed + sitting.unfiltered for sitting in found) / deaths if deaths else None


def _median(found, role, what):
    return statistics.median(getattr(sitting, role)[what] / 1e3 for sitting in found)


def _figures(asked, sittings):
    lines = [
        f"| killers a second, beside {CLOSED} connections and {PROBES} requests a second of innocents | filtered/s | of none | "
        "unfiltered | failed | deaths | of both a death | p50, p99, slowest ms | at fixed times: p50, p99, slowest ms | "
        "a second after |", "|---|---:|---:|---:|---:|---:|---:|---:|---:|---|"]
    for configuration, rows in asked:
        for row in rows:
            found = sittings[configuration, row]
            times = [
                f"{_median(found, role, 'p50'):.2f}, {_median(found, role, 'p99'):.1f}, "
                f"{max(getattr(sitting, role)['max'] for sitting in found) / 1e3:,.0f}" for role in ("closed", "probe")]
            deaths = "-" if found[0].deaths is None else f"{statistics.median(sitting.deaths for sitting in found):,.0f}"
            a_death = _a_death(found)
            unsent = sum(sitting.unsent for sitting in found)
            name = f"{configuration.name}: {row.name}" + (f" ({unsent} found no room)" if unsent else "")
            lines.append(
                f"| {name} | {statistics.median(sitting.filtered for sitting in found):,.0f} | "
                f"{_share(sittings, configuration, row):.3f} | "
                f"{statistics.median(sitting.unfiltered for sitting in found):,.0f} | "
                f"{statistics.median(sitting.failed for sitting in found):,.0f} | {deaths} | "
                f"{'-' if a_death is None else format(a_death, '.2f')} | {times[0]} | {times[1]} | "
                f"{', '.join(sorted({sitting.after for sitting in found}))} |")
    return lines


def _verdicts(asked, sittings):
    lines = ["| storms, what must hold | measured | budget | reached |", "|---|---:|---|---|"]

    def tell(what, measured, form, comparison, bound):
        reached = measured >= bound if comparison == ">=" else measured <= bound
        lines.append(f"| {what} | {measured:{form}} | {comparison} {bound} | {'yes' if reached else 'no'} |")

    for configuration, rows in asked:
        if configuration.envoy_backoff:
            continue
        for row in rows:
            found, name = sittings[configuration, row], f"{configuration.name}: {row.name}"
            if row.share:
                tell(f"{name}, filtered over none", _share(sittings, configuration, row), ".3f", ">=", row.share)
                tell(f"{name}, p99 ms at fixed times", _median(found, "probe", "p99"), ".1f", "<=", row.late)
            a_death = _a_death(found)
            if a_death is not None and row.rate:
                tell(f"{name}, failed or unfiltered a death", a_death, ".2f", "<=", configuration.failed)
    return lines
