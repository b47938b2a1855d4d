#!/usr/bin/env python3
"""Runs the conformance cases against Bulkhead, or with --envoy against Envoy, and prints function x ABI x result."""

import argparse
import pathlib
import signal
import sys
import tempfile
import time

import hosts
import peers
import setups
import table
from case import lines_match, matches
from cases import CASES

HERE = pathlib.Path(__file__).resolve().parent


def say(text):
    print(text, file=sys.stderr, flush=True)


class Run:
    """One started setup, and the cases against it."""

    def __init__(self, host, upstream, abi, show=False):
        self.host, self.upstream, self.abi, self.show = host, upstream, abi, show

    def collect(self, plugin, what="read"):
        port = self.host.ports["http"]
        answer = peers.request(port, "GET", "/collect", [(f"x-collect-{plugin}", what)])
        if answer.status != 200:
            raise hosts.HostError(f"the journal of {plugin} cannot be read: {answer}")
        return answer.body.decode().splitlines()

    def settle(self, case):
        """The journal, once the case is over or its time is."""
        deadline = time.monotonic() + case.seconds
        while True:
            lines = self.collect(case.plugin)
            if any(matches(case.until, line) for line in lines) or time.monotonic() > deadline:
                return lines
            time.sleep(0.01)

    def run(self, case):
        """What is wrong, as a list of sentences."""
        if case.setup == "tcp":
            return self.judge_tcp(case)
        plugins = [case.plugin, *case.others]
        for plugin in plugins:
            self.collect(plugin, "reset")
        self.upstream.requests.clear()
        headers = [(f"x-script-{case.plugin}", case.script), ("x-case", case.name), *case.headers]
        headers += [(f"x-script-{plugin}", script) for plugin, script in case.others.items()]
        if case.upstream:
            headers.append(("x-up", peers.json.dumps(case.upstream)))
        chunks = [case.body] if isinstance(case.body, bytes) else case.body
        answer = peers.request(
            self.host.ports["http"], case.method, case.path, headers, chunks, case.trailers)
        journal = self.settle(case)
        others = {plugin: self.collect(plugin) for plugin in case.others}
        return self.judge(case, answer, journal, others)

    def judge_tcp(self, case):
        port = self.host.ports["tcp"]
        with peers.connect(port) as connection:
            connection.sendall(b"\x02r\n")
            connection.settimeout(0.3)
            try:
                connection.recv(65536)
            except TimeoutError:
                pass
        got = b""
        with peers.connect(port) as connection:
            connection.sendall(b"\x01" + case.script.encode() + b"\n")
            # The first callback takes the script alone, the second the first piece.
            time.sleep(0.1)
            connection.settimeout(case.expected("seconds", self.abi, self.host.name))
            try:
                for piece in case.body or []:
                    if piece is None:
                        connection.shutdown(peers.socket.SHUT_WR)
                    elif isinstance(piece, float):
                        time.sleep(piece)
                    else:
                        connection.sendall(piece)
                        time.sleep(0.1)
                while piece := connection.recv(65536):
                    got += piece
                    if case.answer_body is not None and got == case.answer_body and not case.broken:
                        break
            except (TimeoutError, ConnectionError):
                got += b"!"
        journal, deadline = [], time.monotonic() + case.seconds
        while not any(matches(case.until, line) for line in journal) and time.monotonic() < deadline:
            with peers.connect(port) as connection:
                connection.sendall(b"\x02-\n")
                connection.shutdown(peers.socket.SHUT_WR)
                connection.settimeout(1)
                journal = peers.Reader(connection).rest().removesuffix(b"BYE").decode("latin-1").splitlines()
            time.sleep(0.02)
        answer = peers.Answer()
        answer.body = got
        return self.judge(case, answer, journal, {})

    def judge(self, case, answer, journal, others):
        wrong = []
        if self.show:
            say(f"{case.name} ({self.abi}): {answer}\n    " + "\n    ".join(journal))
            for plugin, lines in others.items():
                say(f"  {plugin}:\n    " + "\n    ".join(lines))
            for request in self.upstream.requests:
                say(f"  upstream: {str(request)[:600]}")

        def expect(field):
            return case.expected(field, self.abi, self.host.name)

        def compare(what, expected, actual):
            if expected is not None and not lines_match(expected, actual):
                wrong.append(f"{what}: expected\n      " + "\n      ".join(expected or ["(none)"]) + "\n    got\n      " +
                             "\n      ".join(actual or ["(none)"]))

        compare("hostcalls", expect("ops"), [line[2:] for line in journal if line.startswith("  ")])
        compare("callbacks", expect("callbacks"), [line for line in journal if not line.startswith("  ")])
        for plugin, lines in (expect("other_ops") or {}).items():
            compare(f"hostcalls of {plugin}", lines, [line[2:] for line in others[plugin] if line.startswith("  ")])
        if expect("status") is not None and answer.status != expect("status"):
            wrong.append(f"status: expected {expect('status')}, got {answer}")
        for name, value in expect("answer_headers").items():
            if not matches(value, answer.header(name)):
                wrong.append(f"answer's header {name}: expected {value}, got {answer}")
        body = expect("answer_body")
        if body is not None and not (matches(body, answer.body.decode("latin-1")) if isinstance(body, str)
                                     else answer.body == body):
            wrong.append(f"answer's body: expected {body[:200]!r}, got {len(answer.body)} bytes {answer}")
        if expect("answer_trailers") is not None and dict(answer.trailers) != expect("answer_trailers"):
            wrong.append(f"answer's trailers: expected {expect('answer_trailers')}, got {answer}")
        if expect("broken") is not None and answer.broken != expect("broken"):
            wrong.append(f"the answer's end: expected broken={expect('broken')}, got {answer}")
        # A request of an earlier case may come only now, where its stream was ended before.
        requests = [request for request in self.upstream.requests if not request["path"].startswith("/call")
                    and dict(request["headers"]).get("x-case", case.name) == case.name]
        calls = [request for request in self.upstream.requests if request["path"].startswith("/call")]
        if expect("sent") is not None:
            wrong += self.judge_request(expect("sent"), requests)
        if expect("calls") is not None:
            for plan, call in zip(expect("calls"), calls):
                wrong += self.judge_request(plan, [call])
            if len(calls) != len(expect("calls")):
                wrong.append(f"calls out: expected {len(expect('calls'))}, got {calls}")
        deadline = time.monotonic() + case.seconds
        while expect("log") is not None and expect("log") not in self.host.text() and time.monotonic() < deadline:
            time.sleep(0.01)
        if expect("log") is not None and expect("log") not in self.host.text():
            wrong.append(f"log: {expect('log')!r} is not in it:\n{self.host.text()[-1500:]}")
        if expect("check") is not None and (found := expect("check")(self, journal)):
            wrong.append(found)
        if wrong:
            wrong.append("journal:\n      " + "\n      ".join(journal))
        return wrong

    @staticmethod
    def judge_request(plan, requests):
        if plan is False:
            return [f"upstream: expected nothing, got {requests}"] if requests else []
        if not requests:
            return [f"upstream: expected {plan}, got nothing"]
        request, wrong = requests[0], []
        headers = {}
        for name, value in request["headers"]:
            headers[name] = f"{headers[name]},{value}" if name in headers else value
        for key, value in plan.items():
            if key == "headers":
                for name, text in value.items():
                    if not matches(text, headers.get(name)):
                        wrong.append(f"upstream's header {name}: expected {text}, got {headers}")
            elif key == "trailers":
                if dict(request["trailers"] or []) != value:
                    wrong.append(f"upstream's trailers: expected {value}, got {request['trailers']}")
            elif request[key] != value:
                wrong.append(f"upstream's {key}: expected {str(value)[:200]}, got {str(request[key])[:200]}")
        return wrong


def run_setup(host_class, name, abi, cases, upstream, directory, chosen):
    """Results by case name: a list of what is wrong."""
    started = host_class(setups.setup(name, abi), directory / f"{name}-{abi}", upstream, chosen.binaries)
    results = {}
    try:
        started.ready()
        run = Run(started, upstream, abi, chosen.show)
        for case in cases:
            try:
                begun = time.monotonic()
                results[case.name] = run.run(case)
                if chosen.show:
                    say(f"  took {time.monotonic() - begun:.2f} s")
                if started.process.poll() is not None:
                    raise hosts.HostError(f"ended with code {started.process.returncode}:\n{started.text()[-2000:]}")
            except (OSError, hosts.HostError, peers.PeerError, ValueError) as error:
                results[case.name] = [f"{type(error).__name__}: {error}"]
    finally:
        started.stop()
    return results


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--envoy", action="store_true", help="run the cases against Envoy instead")
    parser.add_argument("--only", default="", help="cases whose names start so, with commas between")
    parser.add_argument("--abi", default="", help="only this ABI")
    parser.add_argument("--binaries", type=pathlib.Path, default=hosts.ROOT / ".build/debug", help="where bulkheadd is")
    parser.add_argument("--update", action="store_true", help="write RESULTS.md instead of comparing with it")
    parser.add_argument("--show", action="store_true", help="print every case's journal, answer and requests")
    parser.add_argument("--keep", action="store_true", help="keep the directory with logs and configurations")
    return parser.parse_args()


def main():
    chosen = arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    wanted = [case for case in CASES if any(case.name.startswith(part) for part in chosen.only.split(","))]
    groups = {}
    for case in wanted:
        for abi in case.abi:
            if chosen.abi in ("", abi) and not (chosen.envoy and "skip" in case.envoy):
                groups.setdefault((case.setup, abi), []).append(case)
    host_class = hosts.Envoy if chosen.envoy else hosts.Bulkhead
    results, begun = {}, time.monotonic()
    holder = tempfile.TemporaryDirectory(prefix="bulkhead-conformance-", delete=not chosen.keep) if sys.version_info >= (
        3, 12) else tempfile.TemporaryDirectory(prefix="bulkhead-conformance-")
    with holder as temporary:
        upstream = setups.start_peers(temporary)
        for (setup, abi), cases in groups.items():
            try:
                found = run_setup(
                    host_class, setup, abi, cases, upstream, pathlib.Path(temporary), chosen)
            except hosts.HostError as error:
                found = {case.name: [f"the setup {setup} does not start: {error}"] for case in cases}
            for name, wrong in found.items():
                results[name, abi] = wrong
                if wrong:
                    say(f"FAILED {name} ({abi}): " + "\n    ".join(wrong))
    failed = sum(1 for wrong in results.values() if wrong)
    say(f"conformance: {len(results)} runs of {len(wanted)} cases against {host_class.name}, {failed} failed, "
        f"{time.monotonic() - begun:.0f} s")
    if chosen.envoy or chosen.only or chosen.abi:
        return 1 if failed else 0
    text = table.render(CASES, results)
    print(text, end="")
    gaps = table.gaps(CASES)
    for gap in gaps:
        say(f"conformance: no case shows {gap}")
    path = HERE / "RESULTS.md"
    if chosen.update:
        path.write_text(text)
    elif not failed and (not path.exists() or path.read_text() != text):
        say(f"conformance: {path} is not what this run gave: run `make conformance CONFORMANCE=--update`, and commit it")
        return 1
    return 1 if failed or gaps else 0


if __name__ == "__main__":
    sys.exit(main())
