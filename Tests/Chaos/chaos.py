#!/usr/bin/env python3
"""The chaos run: many plugins, mixed load, guests that trap, loop, leak and flood, workers killed and stopped, and storms of
requests that kill one plugin.

It ends with a table of requests by outcome, and fails where an answer is not one that policy ordered, where processes,
descriptors or memory have grown beyond a stated bound, where a worker's end is not accounted for, or where the plugin of a
storm is not ready a second after it."""

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
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import attack

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MODULE = ROOT / ".build/plugins/chaos.wasm"
# What each plugin's failures mean, in the order of the chain, and what is special about it. `brittle` has no lane for
# suspects, and a budget that is soon spent, `target` is who storms are about.
PLUGINS = {
    "gate": {"strategy": "FAIL_CLOSE", "policy": {"workers": 2, "standby": 1}},
    "tag": {"strategy": "FAIL_OPEN", "policy": {"recycling": {"requests": 200}}},
    "rewrite": {"strategy": "FAIL_RELOAD"},
    "audit": {"strategy": "FAIL_CLOSE", "policy": {"standby": 1}},
    "caller": {"strategy": "FAIL_CLOSE", "configuration": {"calls": True}},
    "clock": {"strategy": "FAIL_OPEN", "configuration": {"ticks": True}},
    "brittle": {"strategy": "FAIL_OPEN", "policy": {
        "budget": {"restarts": 2, "interval": "10s"}, "suspects": {"lane": "off"}}},
    attack.TARGET: {"strategy": "FAIL_CLOSE"},
    "wire": {"strategy": "FAIL_CLOSE", "type": "NETWORK"},
}
HTTP = [name for name, plugin in PLUGINS.items() if plugin.get("type") != "NETWORK"]
# Who may be asked to fail outside of storms.
FAULTY = [name for name in HTTP if name != attack.TARGET]
CLOSED = {name for name in HTTP if PLUGINS[name]["strategy"] != "FAIL_OPEN"}
FAULTS = ["trap", "exit", "loop", "leak", "flood", "spin"]
# The headers that ask for a fault, and whether there has to be a body in the request.
PHASES = {"x-chaos": False, "x-chaos-body": True, "x-chaos-response": False, "x-chaos-tail": False}
SIZES = [1, 100, 5_000, 60_000, 200_000]
MEMORY_LIMIT = 16
# What may be more at the end than at the beginning. Allocators keep what they had once, and rings the pages that were
# written once, so memory has some room.
BOUNDS = {
    "processes": 0, "threads": 2, "descriptors": 8, "memfd mappings": 0, "MiB of memfd mappings": 0,
    "MiB of the supervisor": 24, "MiB of the front": 48, "MiB of their shared memory": 16}
# What the largest worker may have at the end: its guest's memory, and beside it code, stacks and the runtime.
WORKER_BOUND = MEMORY_LIMIT + 32
# The share of failed streams that no client sees as such. Over HTTP those that a second plugin fails while they are answered
# for the first one's failure; over TCP those whose worker ends when all was echoed and only the end is left.
UNSEEN = {"http": 0.1, "wire": 0.6}
# And this many more, since a short run has few of either.
UNSEEN_MORE = 8
CONTROL_TIMEOUT = 10
# Events of deaths: of workers, and of VMs whose workers live on.
ENDS = ("worker_crashed", "configure_failed")
DEATHS = (*ENDS, "vm_crashed")
# What a storm may keep out of the journal, where there is a table of crashes. It is counted all the same.
LIMITED = {
    "worker_started", "worker_ready", "worker_ended", "worker_failed", *DEATHS, "worker_interrupted", "worker_killed",
    "backoff", "budget_spent", "quarantined", "recycled", "standby_serves", "suspected", "lane_opened", "lane_closed",
    # Sums come some seconds after what they are of: one more may come while the others are judged.
    "crashes_counted"}


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
        self.directory, self.port, self.wire_port = directory, free_port(), free_port()
        for folder in ("plugins.d", "policies"):
            (directory / folder).mkdir()
        (directory / "bulkhead.yaml").write_text(
            "listeners:\n"
            f'- {{name: edge, address: "127.0.0.1:{self.port}", upstream: echo, errorDetails: client}}\n'
            f'- {{name: raw, protocol: tcp, address: "127.0.0.1:{self.wire_port}", upstream: echo}}\n'
            "plugins: plugins.d\npolicies: policies\ncache: cache\ncontrol: {socket: control.sock}\n"
            "runtime: {eventLoops: 1}\n")
        for priority, (name, plugin) in enumerate(PLUGINS.items()):
            policy = {"name": f"p-{name}", "extends": "default", "memoryLimit": f"{MEMORY_LIMIT}MiB"}
            if name != attack.TARGET:
                policy |= {
                    "callbackDeadline": "100ms", "grace": "100ms", "admissionWait": "2s",
                    "backoff": {"initial": "1ms", "max": "20ms"}, "stability": "2s",
                    "budget": {"restarts": 100000, "interval": "10s", "starts": 100000, "cpu": "none"},
                    "spare": {"keep": "0s"}, **plugin.get("policy", {})}
            (directory / f"policies/p-{name}.yaml").write_text(json.dumps(policy))
            (directory / f"plugins.d/{name}.yaml").write_text(json.dumps({
                "apiVersion": "extensions.istio.io/v1alpha1", "kind": "WasmPlugin",
                "metadata": {"name": name, "annotations": {"bulkhead/policy": f"p-{name}"}},
                "spec": {"url": f"file://{MODULE}", "priority": 100 - priority, "pluginName": name,
                         "pluginConfig": {"name": name, **plugin.get("configuration", {})},
                         "type": plugin.get("type", "HTTP"), "failStrategy": plugin["strategy"]}}))
        self.log = directory / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [binaries / "bulkheadd", "--config", directory / "bulkhead.yaml", "--log-level", "info"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory, start_new_session=True,
                preexec_fn=_die_with_parent)

    def control(self, path, method="GET"):
        status, text = self.ask_control(path, method)
        if status != 200:
            raise Failure(f"{method} {path}: {status} {text}")
        return text

    def ask_control(self, path, method="GET"):
        connection = UnixConnection(self.directory / "control.sock")
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
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
        """Every plugin serves, with as many workers as it is to have; spares may be there beside them."""
        ready = collections.Counter(
            worker["plugin"] for worker in self.workers()
            if worker["state"] == "ready" and worker.get("role") != "suspects")
        return all(plugin["state"] == "ready" for plugin in self.plugins()) and all(
            ready[name] >= wanted(name) for name in PLUGINS)

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

        maps = [
            line for pid in own for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
            if "/memfd:" in line]
        sizes = [int(end, 16) - int(start, 16) for start, end in (line.split()[0].split("-") for line in maps)]
        return {"workers": len(self.workers()), "processes": len(tree), "threads": threads,
                "descriptors": descriptors, "memfd mappings": len(maps),
                "MiB of memfd mappings": sum(sizes) / (1 << 20),
                "MiB of the supervisor": resident(self.process.pid),
                "MiB of the front": sum(resident(pid) for pid in front),
                "MiB of their shared memory": sum(resident(pid, "RssShmem") for pid in own)}

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

    def last_event(self):
        """The number of the last one: they are numbered from 1 on."""
        return json.loads(self.control(f"/v1/events?after={1 << 62}"))["last"]

    def crashes(self):
        """How often each plugin has died of what, as the table of crashes says, and how many kinds of crashes it has dropped;
        None where there is no such table."""
        status, text = self.ask_control("/v1/crashes")
        if status != 200:
            return None
        told, answer = collections.Counter(), json.loads(text)
        for crash in answer["crashes"]:
            told[crash["plugin"], crash["reason"]] += crash["count"]
        return told, answer["evicted"] + answer["leftOut"]

    def deaths(self):
        """How often each plugin has died of what: workers that ended though nobody asked them to, and VMs that ended while
        their workers lived on."""
        found = collections.Counter()
        for name in ("bulkhead_exits_total", "bulkhead_vm_deaths_total"):
            for labels, value in self.counted(name).items():
                labels = dict(labels)
                if value and labels["reason"] != "requested":
                    found[labels["plugin"], labels["reason"]] += int(value)
        return found

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


def wanted(name):
    policy = PLUGINS[name].get("policy", {})
    return policy.get("workers", 1) + policy.get("standby", 0)


def resident(pid, what="RssAnon"):
    try:
        status = pathlib.Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0  # A lane goes when nobody has wanted it for a while.
    found = re.search(rf"{what}:\s+(\d+) kB", status)
    return int(found.group(1)) / 1024 if found else 0


class Load:
    """Clients of different kinds; each request's outcome is judged where it is seen."""

    def __init__(self, bulkhead, seed):
        self.port, self.wire_port, self.seed = bulkhead.port, bulkhead.wire_port, seed
        self.outcomes = collections.Counter()
        self.wrong = []
        self.lock = threading.Lock()
        self.over = threading.Event()
        # Whether faults are asked for and workers are killed: if not, nothing may fail.
        self.faults = False
        self.closed, self.early, self.refused = collections.Counter(), collections.Counter(), collections.Counter()

    def note(self, outcome, what):
        with self.lock:
            self.outcomes[outcome] += 1
            if outcome.startswith("WRONG") and len(self.wrong) < 20:
                self.wrong.append(f"{outcome}: asked with {what}")

    def run_wire(self, number):
        """One TCP connection after the other, which is echoed, or closed where its plugin has failed."""
        rng = random.Random(f"{self.seed}/wire/{number}")
        while not self.over.is_set():
            text = f"{rng.randrange(1 << 30)}\n".encode() + b"x" * rng.choice(SIZES)
            fault = rng.choice(FAULTS) if self.faults and rng.random() < 0.05 else ""
            if fault:
                text = f"wire:{fault}\n".encode() + text
            self.note(self.ask_wire(text), f"{fault or 'no fault'}, {len(text)} bytes over TCP")

    def ask_wire(self, text):
        got = bytearray()
        try:
            with socket.create_connection(("127.0.0.1", self.wire_port), 20) as connection:
                # What was sent comes back meanwhile: neither side waits for the other one for ever.
                left = memoryview(text)
                while len(got) < len(text):
                    readable, writable, _ = select.select([connection], [connection] if left else [], [], 20)
                    if not readable and not writable:
                        return "WRONG: nothing comes back over TCP for 20 s"
                    if writable:
                        left = left[connection.send(left[:65_536]):]
                    if readable:
                        piece = connection.recv(65_536)
                        if not piece:
                            break
                        got += piece
        except (ConnectionResetError, BrokenPipeError):
            pass  # It is judged as any other end.
        except OSError as error:
            return f"WRONG: no TCP echo ({type(error).__name__}: {error})"
        if got == text:
            return "TCP, echoed"
        if not text.startswith(got):
            return "WRONG: other bytes came back over TCP"
        return self.ordered("wire", "TCP, closed for a plugin that fails closed")

    def ordered(self, name, outcome):
        """What only a failure of that plugin may lead to; it is held against what the front has counted."""
        with self.lock:
            self.closed[name] += 1
            if not self.faults:
                self.early[name] += 1
        return outcome

    def judge_calm(self, events):
        """While nothing was asked to fail, only plugins may whose workers the machine was too slow for."""
        slow = {event["plugin"] for event in events if event["kind"] in DEATHS}
        return [
            f"{number} failures of {name} while nothing was asked to fail" for name, number in self.early.items()
            if name not in slow and not (name == "?" and slow & CLOSED)]

    def run(self, number):
        rng = random.Random(f"{self.seed}/{number}")
        connection = None
        while not self.over.is_set():
            headers, body = {"x-number": str(rng.randrange(1 << 30))}, b""
            if rng.random() < 0.4:
                body = bytes([97 + rng.randrange(26)]) * rng.choice(SIZES)
            if self.faults and rng.random() < 0.05:
                phase = rng.choice([phase for phase, needs_body in PHASES.items() if body or not needs_body])
                # One is asked more often, so that its budget is spent in any run.
                headers[phase] = f"{rng.choice(FAULTY + ['brittle'] * 4)}:{rng.choice(FAULTS)}"
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            outcome, keeps = self.ask(connection, headers, body)
            self.note(outcome, f"{headers}, {len(body)} bytes")
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
            # Once the head has gone out, a failure that closes resets the stream. Which plugin's is not said.
            if answer.status != 200:
                return f"WRONG: a {answer.status} that ends early ({type(error).__name__})", False
            return self.ordered("?", "reset after the head, for a plugin that fails closed"), False
        keeps = answer.getheader("connection", "").lower() != "close"
        if answer.status == 503:
            match = re.match(rb"plugin (\w+) is unavailable \((.*)\)", text)
            if match and match.group(1).decode() in CLOSED:
                name = match.group(1).decode()
                return self.ordered(name, f"503: {PLUGINS[name]['strategy']} of a plugin"), keeps
            match = re.match(rb"plugin (\w+) has no room \(it looks like a request that the plugin died of", text)
            if match and any(phase in headers for phase in PHASES):
                with self.lock:
                    self.refused[match.group(1).decode()] += 1
                return "503: a suspect, for whom the lane is closed or busy", keeps
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
        open_missing = set(HTTP) - CLOSED - (passed & seen)
        for name in open_missing:
            outcome = self.ordered(name, "200, without one that fails open")
        return outcome if open_missing else "200, filtered by all", keeps


def _names(values):
    return values if isinstance(values, list) else re.split(r", *", values)


class Killer:
    """Sends signals to workers, by descriptors, so that no number that is used again is hit."""

    def __init__(self, bulkhead, seed, plugins, kill=0.6):
        self.bulkhead, self.rng = bulkhead, random.Random(f"{seed}/killer")
        # Whose workers, and the share of them that are killed and not stopped.
        self.plugins, self.kill = plugins, kill
        self.sent = collections.Counter()
        self.over = threading.Event()

    def run(self):
        while not self.over.wait(self.rng.uniform(0.02, 0.15)):
            try:
                workers = [worker for worker in self.bulkhead.workers() if worker["plugin"] in self.plugins]
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
            if self.rng.random() < self.kill:
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


class Journal:
    """Reads all events while they come: the ring keeps the last ones only."""

    def __init__(self, bulkhead):
        self.bulkhead, self.over = bulkhead, threading.Event()
        self.events, self.missed, self.problems = [], 0, []

    def run(self):
        while not self.over.is_set():
            try:
                self.read(wait=1)
            except (OSError, http.client.HTTPException) as error:
                self.problems.append(f"events could not be read: {error!r}")
                return

    def read(self, wait=0):
        last = self.events[-1]["sequence"] if self.events else 0
        answer = json.loads(self.bulkhead.control(f"/v1/events?after={last}&wait={wait}"))
        self.missed += answer["missed"]
        self.events += answer["events"]

    def count(self, *kinds):
        return collections.Counter(event.get("plugin") for event in self.events if event["kind"] in kinds)

    def judge(self, bulkhead, total, alive):
        """What the events say is what the metrics count, plugin by plugin and process by process. Where there is a table of
        crashes, that has every death, and a storm's events are fewer than what they are about."""
        found, crashes, deaths = list(self.problems), bulkhead.crashes(), bulkhead.deaths()

        def expect(what, told, counted, is_limited=False):
            if told > counted if is_limited else told != counted:
                found.append(f"{what}: told are {told}, the metrics count {counted}")
        if self.missed:
            found.append(f"{self.missed} events were gone before they could be read")
        if [event["sequence"] for event in self.events] != list(range(1, total + 1)):
            found.append(f"the {len(self.events)} events that were read are not those with the numbers 1 to {total}")
        kinds = collections.Counter(event["kind"] for event in self.events)
        for labels, value in bulkhead.counted("bulkhead_events_total").items():
            kind = dict(labels)["kind"]
            expect(f"events '{kind}'", kinds.pop(kind, 0), int(value), crashes is not None and kind in LIMITED)
        expect("other events", dict(kinds), {})
        begun, ended = self.count("worker_started", "worker_failed"), self.count(*ENDS, "worker_ended")
        for name, (started, gone, _) in accounts(bulkhead).items():
            expect(f"starts of {name}", begun[name], started, crashes is not None)
            if crashes is None:
                expect(f"ends of {name}", ended[name] + self.count("worker_failed")[name], gone)
        reasons = collections.Counter(
            (event["plugin"], event["crash"]["reason"]) for event in self.events if event["kind"] in DEATHS)
        for name, reason in sorted(reasons.keys() | deaths.keys()):
            key = name, reason
            expect(f"events of deaths of {name} by '{reason}'", reasons[key], deaths[key], crashes is not None)
        if crashes is None:
            self.judge_processes(alive, found)
            return found
        told, dropped = crashes
        for name, reason in sorted(told.keys() | deaths.keys()):
            key = name, reason
            expect(f"crashes of {name} by '{reason}' in their table", told[key], deaths[key], dropped > 0)
        counted = {
            (dict(labels)["plugin"], dict(labels)["reason"]): int(value)
            for labels, value in bulkhead.counted("bulkhead_crashes_total").items() if value}
        expect("crashes by plugin and reason", counted, dict(deaths))
        return found

    def judge_processes(self, alive, found):
        # A number may be used again: so one after the other.
        there = {}
        for event in self.events:
            key = (event.get("plugin"), event.get("pid"))
            if event["kind"] == "worker_started":
                there[key] = there.get(key, 0) + 1
            elif event["kind"] in (*ENDS, "worker_ended"):
                there[key] = there.get(key, 0) - 1
                if there[key] < 0:
                    found.append(f"the end of {key} was told, and its start was not")
        left = {key for key, number in there.items() if number}
        if left != alive:
            found.append(f"workers that are there: the events say {left}, there are {alive}")


def accounts(bulkhead):
    """Every worker that was started has ended for a reason that is counted, or is there."""
    restarts, exits = bulkhead.per_plugin("bulkhead_restarts_total"), bulkhead.per_plugin("bulkhead_exits_total")
    lanes = bulkhead.per_plugin("bulkhead_suspect_lane_starts_total")
    alive = collections.Counter(worker["plugin"] for worker in bulkhead.workers())
    started = {name: wanted(name) + restarts[name] + lanes[name] for name in PLUGINS}
    # A spare is no restart, and is kept for longer than this runs; of these plugins one alone may have it.
    started[attack.TARGET] += exits[attack.TARGET] + alive[attack.TARGET] == started[attack.TARGET] + 1
    return {name: (started[name], exits[name], alive[name]) for name in PLUGINS}


def reconcile(told, failed, refused, suspects):
    """What clients saw of failures and refusals against what the front has counted. Returns the rows of a table, and
    problems."""
    rows, problems = [], []
    for name in PLUGINS:
        if refused[name] > suspects[name]:
            problems.append(f"{refused[name]} suspects of {name} were refused, and {suspects[name]} were counted")
    rows.append(("suspects that were refused", f"{sum(refused.values())} of {sum(suspects.values()):.0f}"))
    closed = sum(failed[name] for name in CLOSED)
    seen = sum(told[name] for name in CLOSED) + told["?"]
    for name in PLUGINS:
        rows.append((name, f"{told[name]} of {failed[name]}"))
        if told[name] > failed[name]:
            problems.append(f"{told[name]} answers say that {name} failed, and {failed[name]} failures were counted")
    rows.append(("resets and 503s together", f"{seen} of {closed}"))
    for what, seen, counted in (("http", seen, closed), ("wire", told["wire"], failed["wire"])):
        if not counted * (1 - UNSEEN[what]) - UNSEEN_MORE <= seen <= counted:
            problems.append(f"{what}: clients saw {seen} failures, {counted} were counted")
    return rows, problems


def table(rows, header):
    print(f"\n| {header[0]} | {header[1]} |\n|---|---:|")
    for name, value in rows:
        print(f"| {name} | {value} |")


def under_load(load, clients, act):
    """Does something while clients ask, a few of them over TCP."""
    wires = max(clients // 4, 1)
    with concurrent.futures.ThreadPoolExecutor(clients + wires) as pool:
        runs = [pool.submit(load.run, number) for number in range(clients)]
        runs += [pool.submit(load.run_wire, number) for number in range(wires)]
        try:
            act()
        finally:
            load.over.set()
        for run in runs:
            run.result(60)


def bounds(before, now):
    """What may be more at the end: a worker more than there were costs what each of them did."""
    spares = max(now["workers"] - before["workers"], 0)
    own = {"processes", "descriptors", "memfd mappings", "MiB of memfd mappings", "MiB of their shared memory"}
    return {
        what: bound + (spares * before[what] / before["workers"] if what in own else 0) for what, bound in BOUNDS.items()}


def weather(bulkhead, storm, options, seconds):
    """One storm, while innocents ask. Returns the rows of a table, and problems."""
    # What the storm before has taught the plugin would keep all of this one from it.
    bulkhead.control(f"/v1/plugins/{attack.TARGET}/suspects/clear", "POST")
    innocents, killers = Load(bulkhead, f"{options.seed}/{storm.name}"), Load(bulkhead, options.seed)
    attackers, killer = attack.Attackers(killers, storm, options.seed), Killer(bulkhead, options.seed, {attack.TARGET}, 1)
    failed, died, problems = bulkhead.per_plugin("bulkhead_failed_streams_total"), bulkhead.deaths(), []
    suspects = bulkhead.per_plugin("bulkhead_refused_suspect_streams_total")

    def act():
        killing = threading.Thread(target=killer.run)
        if storm.kills:
            killing.start()
        try:
            finish = attackers.run(seconds)
        finally:
            killer.over.set()
        time.sleep(1)
        state = next(plugin["state"] for plugin in bulkhead.plugins() if plugin["name"] == attack.TARGET)
        if state != "ready":
            problems.append(f"a second after the storm '{storm.name}' {attack.TARGET} is {state}, not ready")
        finish()
        if storm.kills:
            killing.join(60)
    under_load(innocents, options.clients, act)
    # Those who had no answer yet when it was over have one now, and it is counted.
    failed = bulkhead.per_plugin("bulkhead_failed_streams_total") - failed
    suspects = bulkhead.per_plugin("bulkhead_refused_suspect_streams_total") - suspects
    told, unexplained = reconcile(
        innocents.closed + killers.closed, failed, innocents.refused + killers.refused, suspects)
    deaths = collections.Counter()
    for (name, reason), number in (bulkhead.deaths() - died).items():
        if name == attack.TARGET:
            deaths[f"{attack.TARGET} died of '{reason}'"] = number
    if attackers.sent > 20 and sum(deaths.values()) == 0:
        problems.append(f"the storm '{storm.name}' of {attackers.sent} killers has killed nobody")
    rows = [("killers, sent", attackers.sent), ("killers that found no room", attackers.unsent), *sorted(deaths.items())]
    rows += [(f"workers that got {name}", number) for name, number in killer.sent.items()]
    rows += [(f"killers: {outcome}", number) for outcome, number in sorted(killers.outcomes.items())]
    rows += [(f"innocents: {outcome}", number) for outcome, number in sorted(innocents.outcomes.items())]
    rows += [(f"failures of {name}, seen of counted", value) for name, value in told if not value.startswith("0 of 0")]
    problems += [f"in the storm '{storm.name}', {what}" for what in innocents.wrong + killers.wrong + unexplained]
    return rows, problems


def chaos(options, directory):
    bulkhead = Bulkhead(directory, options.binaries)
    try:
        bulkhead.wait_until(bulkhead.is_ready, "every plugin is ready", 60)
        load, journal = Load(bulkhead, options.seed), Journal(bulkhead)
        killer = Killer(bulkhead, options.seed, {*FAULTY, "wire"} - {"brittle"})
        reader = threading.Thread(target=journal.run, daemon=True)
        reader.start()
        before, begun = {}, []

        def act():
            time.sleep(min(5, options.seconds / 4))
            before.update(bulkhead.usage())
            load.faults = True
            begun.append(bulkhead.last_event())
            killing = threading.Thread(target=killer.run)
            killing.start()
            try:
                time.sleep(options.seconds)
            finally:
                killer.over.set()
                killing.join(60)
        under_load(load, options.clients, act)
        bulkhead.wait_until(bulkhead.is_ready, "every plugin is well again, the quarantined one included", 60)
        bulkhead.wait_until(
            lambda: all(started == ended + alive for started, ended, alive in accounts(bulkhead).values()),
            "the ends of all workers are accounted for", 15)
        failed = bulkhead.per_plugin("bulkhead_failed_streams_total")
        refused = bulkhead.per_plugin("bulkhead_refused_suspect_streams_total")
        stormy = []
        for storm in attack.STORMS if options.storms else ():
            rows, found = weather(bulkhead, storm, options, min(max(options.seconds / 15, 1.5), 10))
            table(rows, (f"storm: {storm.name}", "number"))
            stormy += found
            bulkhead.wait_until(bulkhead.is_ready, f"every plugin is well again after the storm '{storm.name}'", 60)
        # Whatever there was: now nothing fails any more.
        settled = bulkhead.last_event()
        calm = Load(bulkhead, options.seed + 1)
        under_load(calm, options.clients, lambda: time.sleep(min(2, options.seconds / 10)))

        def has_shrunk():
            now = bulkhead.usage()
            return all(now[what] <= before[what] + bound for what, bound in bounds(before, now).items())
        try:
            bulkhead.wait_until(has_shrunk, "what was used is given back", 20)
            growth = ""
        except Failure as failure:
            growth = str(failure).splitlines()[0]
        after = bulkhead.usage()
        journal.over.set()
        reader.join(20)
        journal.read()
        total = bulkhead.last_event()
        alive = {(worker["plugin"], worker["pid"]) for worker in bulkhead.workers()}
        largest = max(resident(pid) for _, pid in alive)
        reasons = collections.Counter()
        for (_, reason), number in bulkhead.deaths().items():
            reasons[reason] += number

        table(sorted(load.outcomes.items()), ("requests by outcome", "number"))
        ended = [(f"deaths of plugins: {name}", count) for name, count in reasons.items() if count]
        table([*killer.sent.items(), *ended], ("what happened", "number"))
        used = [
            (f"{what} (at most +{bound:.0f})", f"{before[what]:.0f} -> {after[what]:.0f}")
            for what, bound in bounds(before, after).items()]
        used.append((f"MiB of the largest worker (at most {WORKER_BOUND})", f"-> {largest:.0f}"))
        table(used, ("used, under load and at the end", "from -> to"))
        table([(name, f"{a} = {b} + {c}") for name, (a, b, c) in accounts(bulkhead).items()],
              ("workers of", "started = ended + alive"))
        rows, unexplained = reconcile(load.closed, failed, load.refused, refused)
        table(rows, ("what clients saw fail, by plugin", "of what was counted"))
        quarantines = int(sum(
            value for labels, value in bulkhead.counted("bulkhead_events_total").items()
            if dict(labels)["kind"] == "quarantined"))
        kinds = collections.Counter(event["kind"] for event in journal.events)
        table(sorted(kinds.items()), ("events", "number"))
        problems = stormy + load.wrong + [f"at the end, {wrong}" for wrong in calm.wrong] + unexplained
        problems += load.judge_calm([event for event in journal.events if event["sequence"] <= begun[0]])
        problems += calm.judge_calm([event for event in journal.events if event["sequence"] > settled])
        problems += journal.judge(bulkhead, total, alive)
        if largest > WORKER_BOUND:
            problems.append(f"a worker has {largest:.0f} MiB of its own, where {WORKER_BOUND} MiB are the bound")
        problems += ([growth + f": {after} against {before}"] if growth else [])
        if sum(load.outcomes.values()) < options.seconds * 20:
            problems.append(f"only {sum(load.outcomes.values())} requests were answered: something held everybody up")
        if reasons["signal"] < killer.sent["SIGKILL"] * 0.5:
            problems.append(f"of {killer.sent['SIGKILL']} that were killed only {reasons['signal']} ended so")
        if options.seconds >= 10 and quarantines == 0:
            problems.append("the brittle plugin was never quarantined")
        # Each kind of end that was provoked must be there: else the run has not tried what it is for.
        for reason in ("trap", "deadline", "signal"):
            if options.seconds >= 10 and reasons[reason] == 0:
                problems.append(f"nothing died by '{reason}', though that was provoked: {dict(reasons)}")
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
    parser.add_argument("--storms", action=argparse.BooleanOptionalAction, default=True, help="storms behind the rest")
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
