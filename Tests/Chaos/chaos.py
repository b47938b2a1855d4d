#!/usr/bin/env python3
"""The chaos run: many plugins, mixed load, guests that trap, loop, leak and flood, workers killed and stopped.

It ends with a table of requests by outcome, and fails where an answer is not one that policy ordered, where processes,
descriptors or memory have grown beyond a stated bound, or where a worker's end is not accounted for."""

import argparse
import collections
import concurrent.futures
import ctypes
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MODULE = ROOT / ".build/plugins/chaos.wasm"
# What each plugin's failures mean, in the order of the chain. `brittle` has a budget that is soon spent.
PLUGINS = {
    "gate": "FAIL_CLOSE", "tag": "FAIL_OPEN", "rewrite": "FAIL_RELOAD", "audit": "FAIL_CLOSE", "trace": "FAIL_OPEN",
    "brittle": "FAIL_OPEN"}
CLOSED = {name for name, strategy in PLUGINS.items() if strategy != "FAIL_OPEN"}
FAULTS = ["trap", "exit", "loop", "leak", "flood", "spin"]
PHASES = ["x-chaos", "x-chaos-body", "x-chaos-response"]
# What may be more at the end than at the beginning. Allocators keep what they had once, so memory has some room.
BOUNDS = {"processes": 0, "threads": 2, "descriptors": 8, "MiB of the supervisor": 24, "MiB of the front": 48}
CONTROL_TIMEOUT = 10


class Failure(Exception):
    """What the run is there to find."""


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=CONTROL_TIMEOUT)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(CONTROL_TIMEOUT)
        self.sock.connect(self.path)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _die_with_parent():
    # PR_SET_PDEATHSIG: nothing outlives a run that was killed.
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Bulkhead:
    def __init__(self, directory, binaries):
        self.directory, self.port = directory, free_port()
        for folder in ("plugins.d", "policies"):
            (directory / folder).mkdir()
        (directory / "bulkhead.yaml").write_text(
            f'listeners: [{{name: edge, address: "127.0.0.1:{self.port}", upstream: echo}}]\n'
            "plugins: plugins.d\npolicies: policies\ncache: cache\ncontrol: {socket: control.sock}\n"
            "runtime: {eventLoops: 1}\n")
        for priority, (name, strategy) in enumerate(PLUGINS.items()):
            policy = {
                "name": f"p-{name}", "callbackDeadline": "100ms", "grace": "100ms", "admissionWait": "2s",
                "memoryLimit": "16MiB", "backoff": {"initial": "1ms", "max": "20ms"}, "stability": "2s",
                "budget": {"restarts": 2 if name == "brittle" else 100000, "interval": "10s"}}
            (directory / f"policies/p-{name}.yaml").write_text(json.dumps(policy))
            (directory / f"plugins.d/{name}.yaml").write_text(json.dumps({
                "apiVersion": "extensions.istio.io/v1alpha1", "kind": "WasmPlugin",
                "metadata": {"name": name, "annotations": {"bulkhead/policy": f"p-{name}"}},
                "spec": {"url": f"file://{MODULE}", "priority": 100 - priority, "pluginName": name,
                         "pluginConfig": {"name": name}, "failStrategy": strategy}}))
        self.log = directory / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [binaries / "bulkheadd", "--config", directory / "bulkhead.yaml", "--log-level", "info"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory, start_new_session=True,
                preexec_fn=_die_with_parent)

    def control(self, path):
        connection = UnixConnection(self.directory / "control.sock")
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status != 200:
                raise Failure(f"GET {path}: {answer.status} {text}")
            return text
        finally:
            connection.close()

    def plugins(self):
        return json.loads(self.control("/v1/plugins"))["plugins"]

    def workers(self):
        return json.loads(self.control("/v1/workers"))["workers"]

    def wait_until(self, holds, what, seconds):
        deadline, last = time.monotonic() + seconds, "it did not hold"
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failure(f"bulkheadd ended with code {self.process.returncode}:\n{self.tail()}")
            try:
                if holds():
                    return
            except (OSError, http.client.HTTPException, ValueError) as error:
                last = repr(error)
            time.sleep(0.05)
        raise Failure(f"{what}: not within {seconds} s ({last})\n{self.tail()}")

    def tail(self):
        return self.log.read_text("utf-8", "replace")[-3000:]

    def is_ready(self):
        return all(plugin["state"] == "ready" for plugin in self.plugins())

    def tree(self):
        """The processes, by what they are."""
        found, wanted = {}, {self.process.pid}
        for _ in range(3):
            for entry in pathlib.Path("/proc").iterdir():
                if entry.name.isdigit() and int(entry.name) not in found:
                    try:
                        name, rest = (entry / "stat").read_text().split("(", 1)[1].rsplit(")", 1)
                    except OSError:
                        continue
                    if int(entry.name) == self.process.pid or int(rest.split()[1]) in wanted:
                        found[int(entry.name)] = name
                        wanted.add(int(entry.name))
        return found

    def usage(self):
        """What it holds of what there is."""
        tree = self.tree()
        front = [pid for pid, name in tree.items() if name.startswith("bulkhead-front")]
        own = [self.process.pid] + front
        threads = sum(len(list(pathlib.Path(f"/proc/{pid}/task").iterdir())) for pid in own)
        descriptors = sum(len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir())) for pid in own)

        def resident(pid):
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
            return int(re.search(r"RssAnon:\s+(\d+) kB", status).group(1)) / 1024
        return {"processes": len(tree), "threads": threads, "descriptors": descriptors,
                "MiB of the supervisor": resident(self.process.pid),
                "MiB of the front": sum(resident(pid) for pid in front)}

    def counted(self, name):
        """The samples of a metric, by their labels."""
        found = {}
        for line in self.control("/v1/metrics").splitlines():
            match = re.match(rf"{name}\{{(.*)\}} (\S+)$", line)
            if match:
                found[tuple(sorted(re.findall(r'(\w+)="([^"]*)"', match.group(1))))] = float(match.group(2))
        return found

    def per_plugin(self, name):
        totals = collections.Counter()
        for labels, value in self.counted(name).items():
            totals[dict(labels).get("plugin", "")] += int(value)
        return totals

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise Failure("bulkheadd did not stop within 20 s of SIGTERM") from None
        return self.process.returncode


class Load:
    """Clients of different kinds; each request's outcome is judged where it is seen."""

    def __init__(self, port, seed):
        self.port, self.seed = port, seed
        self.outcomes = collections.Counter()
        self.wrong = []
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.faults = True

    def run(self, number):
        rng = random.Random(f"{self.seed}/{number}")
        connection = None
        while not self.over.is_set():
            headers, body = {"x-number": str(rng.randrange(1 << 30))}, b""
            if rng.random() < 0.4:
                body = bytes([97 + rng.randrange(26)]) * rng.choice([1, 100, 5_000, 60_000])
            if self.faults and rng.random() < 0.03:
                name = rng.choice(list(PLUGINS))
                phase = rng.choice(PHASES if body else PHASES[::2])
                headers[phase] = f"{name}:{rng.choice(FAULTS)}"
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            outcome, keeps = self.ask(connection, headers, body)
            with self.lock:
                self.outcomes[outcome] += 1
                if outcome.startswith("WRONG") and len(self.wrong) < 20:
                    self.wrong.append(f"{outcome}: asked with {headers}, {len(body)} bytes")
            if not keeps or rng.random() < 0.02:
                connection.close()
                connection = None

    def ask(self, connection, headers, body):
        """Returns what came of it, and whether the connection can go on."""
        try:
            connection.request("POST" if body else "GET", "/chaos", body or None, headers)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            return f"WRONG: no answer ({type(error).__name__})", False
        try:
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            # Once the head has gone out, a failure that closes resets the stream.
            return ("reset after the head, by a closed plugin" if any(
                value.split(":")[0] in CLOSED for key, value in headers.items() if key in PHASES)
                else f"reset after the head ({type(error).__name__})"), False
        keeps = answer.getheader("connection", "").lower() != "close"
        if answer.status == 503:
            match = re.match(rb"plugin (\w+) is unavailable \((.*)\)", text)
            if match and match.group(1).decode() in CLOSED:
                return f"503: {PLUGINS[match.group(1).decode()]} of a plugin", keeps
            return f"WRONG: 503 that no policy orders: {text[:200]!r}", keeps
        if answer.status != 200:
            return f"WRONG: {answer.status}: {text[:200]!r}", keeps
        # Names that come more than once are kept apart.
        echo = json.loads(text, object_pairs_hook=list)
        fields = dict(echo)
        passed = {name for key, value in fields["headers"] if key == "x-passed" for name in _names(value)}
        seen = {value.strip() for key, values in answer.getheaders() if key.lower() == "x-seen"
                for value in values.split(",")}
        if CLOSED - passed or CLOSED - seen:
            return f"WRONG: 200 past {sorted((CLOSED - passed) | (CLOSED - seen))}, which fail closed", keeps
        if dict(fields["body"])["size"] != len(body):
            return f"WRONG: {len(body)} bytes became {fields['body']}"[:200], keeps
        number = [value for key, value in fields["headers"] if key == "x-number"]
        if number != [headers["x-number"]]:
            return f"WRONG: the answer of another request: {number}", keeps
        open_missing = set(PLUGINS) - CLOSED - (passed & seen)
        return "200, filtered by all" if not open_missing else "200, without one that fails open", keeps


def _names(values):
    return values if isinstance(values, list) else re.split(r", *", values)


class Killer:
    """Sends signals to workers, by descriptors, so that no number that is used again is hit."""

    def __init__(self, bulkhead, seed):
        self.bulkhead, self.rng = bulkhead, random.Random(f"{seed}/killer")
        self.sent = collections.Counter()
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(self.rng.uniform(0.02, 0.15)):
            try:
                workers = [worker for worker in self.bulkhead.workers() if worker["plugin"] != "brittle"]
                if workers:
                    self.hit(self.rng.choice(workers)["pid"])
            except (OSError, http.client.HTTPException, Failure):
                # It is asked again; whether it answers at all is seen at the end.
                self.sent["no list of workers"] += 1

    def hit(self, pid):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            if pid not in self.bulkhead.tree():
                return
            if self.rng.random() < 0.6:
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                self.sent["SIGKILL"] += 1
            else:
                signal.pidfd_send_signal(descriptor, signal.SIGSTOP)
                self.sent["SIGSTOP"] += 1
                if self.rng.random() < 0.5:
                    self.over.wait(self.rng.uniform(0, 0.08))
                    signal.pidfd_send_signal(descriptor, signal.SIGCONT)
                    self.sent["SIGCONT"] += 1
        except ProcessLookupError:
            pass
        finally:
            os.close(descriptor)


def accounts(bulkhead):
    """Every worker that was started has ended for a reason that is counted, or is there."""
    restarts, exits = bulkhead.per_plugin("bulkhead_restarts_total"), bulkhead.per_plugin("bulkhead_exits_total")
    alive = collections.Counter(worker["plugin"] for worker in bulkhead.workers())
    return {name: (1 + restarts[name], exits[name], alive[name]) for name in PLUGINS}


def table(rows, header):
    print(f"\n| {header[0]} | {header[1]} |\n|---|---:|")
    for name, value in rows:
        print(f"| {name} | {value} |")


def chaos(options, directory):
    bulkhead = Bulkhead(directory, options.binaries)
    try:
        bulkhead.wait_until(bulkhead.is_ready, "every plugin is ready", 60)
        load, killer = Load(bulkhead.port, options.seed), Killer(bulkhead, options.seed)
        with concurrent.futures.ThreadPoolExecutor(options.clients + 1) as pool:
            runs = [pool.submit(load.run, number) for number in range(options.clients)]
            try:
                load.faults = False
                time.sleep(min(5, options.seconds / 4))
                before = bulkhead.usage()
                load.faults = True
                runs.append(pool.submit(killer.run))
                time.sleep(options.seconds)
            finally:
                killer.over.set()
                load.over.set()
            for run in runs:
                run.result(60)
        bulkhead.wait_until(bulkhead.is_ready, "every plugin is well again, the quarantined one included", 60)
        bulkhead.wait_until(
            lambda: all(started == ended + alive for started, ended, alive in accounts(bulkhead).values()),
            "the ends of all workers are accounted for", 15)

        def has_shrunk():
            now = bulkhead.usage()
            return all(now[what] <= before[what] + bound for what, bound in BOUNDS.items())
        try:
            bulkhead.wait_until(has_shrunk, "what was used is given back", 20)
            growth = ""
        except Failure as failure:
            growth = str(failure).splitlines()[0]
        after, ends = bulkhead.usage(), bulkhead.counted("bulkhead_exits_total")
        reasons = collections.Counter()
        for labels, value in ends.items():
            reasons[dict(labels).get("reason", "?")] += int(value)

        table(sorted(load.outcomes.items()), ("requests by outcome", "number"))
        ended = [(f"ends of workers: {name}", count) for name, count in reasons.items() if count]
        table([*killer.sent.items(), *ended], ("what happened", "number"))
        used = [
            (f"{what} (at most +{bound})", f"{before[what]:.0f} -> {after[what]:.0f}")
            for what, bound in BOUNDS.items()]
        table(used, ("used, under load and at the end", "from -> to"))
        table([(name, f"{a} = {b} + {c}") for name, (a, b, c) in accounts(bulkhead).items()],
              ("workers of", "started = ended + alive"))
        quarantines = len(re.findall(r"quarantined: ", bulkhead.log.read_text("utf-8", "replace")))
        table([("quarantines of the brittle one", quarantines)], ("policy decisions", "number"))
        problems = load.wrong + ([growth + f": {after} against {before}"] if growth else [])
        if sum(load.outcomes.values()) < options.seconds * 20:
            problems.append(f"only {sum(load.outcomes.values())} requests were answered: something held everybody up")
        if reasons["signal"] < killer.sent["SIGKILL"] * 0.5:
            problems.append(f"of {killer.sent['SIGKILL']} that were killed only {reasons['signal']} ended so")
        if options.seconds >= 10 and quarantines == 0:
            problems.append("the brittle plugin was never quarantined")
        # Each kind of end that was provoked must be there: else the run has not tried what it is for.
        for reason in ("trap", "deadline", "signal"):
            if options.seconds >= 10 and reasons[reason] == 0:
                problems.append(f"no worker ended by '{reason}', though that was provoked: {dict(reasons)}")
        left = bulkhead.tree()
        code = bulkhead.stop()
        if code != 0:
            problems.append(f"bulkheadd ended with code {code}")
        alive = [f"{pid} {name}" for pid, name in left.items() if pathlib.Path(f"/proc/{pid}").exists()]
        if alive:
            problems.append(f"still there after its end: {', '.join(alive)}")
        return problems
    finally:
        if bulkhead.process.poll() is None:
            bulkhead.process.kill()
            bulkhead.process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--binaries", type=pathlib.Path, default=ROOT / ".build/debug")
    parser.add_argument("--keep", action="store_true", help="leave the log and configuration")
    options = parser.parse_args()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bulkhead-chaos-"))
    print(
        f"chaos: seed {options.seed}, {options.seconds:.0f} s, {options.clients} clients, {len(PLUGINS)} plugins",
        flush=True)
    try:
        problems = chaos(options, directory)
    except Failure as failure:
        problems = [str(failure)]
    finally:
        if options.keep:
            print(f"kept: {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    for problem in problems:
        print(f"chaos: {problem}", file=sys.stderr)
    verdict = f"{len(problems)} problems" if problems else "nothing but what policy ordered"
    print(f"\nchaos: {verdict} (seed {options.seed})")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
