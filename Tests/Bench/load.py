"""One measurement with wrk, and the check that what is measured is what it is taken for."""

import re
import subprocess

from servers import BenchError

UNITS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


class Sample:
    """What one run of wrk says: requests per second, and the latency that half and all but a hundredth of them stay under,
    in microseconds."""

    def __init__(self, requests_per_second, median_microseconds, p99_microseconds):
        self.requests_per_second = requests_per_second
        self.median_microseconds = median_microseconds
        self.p99_microseconds = p99_microseconds


def run_wrk(server, connections, seconds, path="/", options=()):
    command = [
        "wrk", "-t", "1", "-c", str(connections), "-d", f"{seconds}s", "--latency", "--timeout", "5s", *options,
        f"http://127.0.0.1:{server.port}{path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode != 0:
        raise BenchError(f"wrk against {server.name} failed: {done.stderr or done.stdout}")
    return parse(done.stdout, server.name)


def parse(text, name):
    """The figures of wrk's report. A run with an answer other than 2xx or 3xx, or with a broken connection, counts for
    nothing: figures of errors are worse than none."""
    failures = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    if failures:
        raise BenchError(f"{name}: {failures.group(1)} answers were errors:\n{text}")
    broken = re.search(r"Socket errors: (.*)", text)
    if broken:
        raise BenchError(f"{name}: connections broke ({broken.group(1)}):\n{text}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    median, late = (
        re.search(rf"^\s+{share}%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.MULTILINE) for share in (50, 99))
    if not rate or not median or not late or float(rate.group(1)) == 0:
        raise BenchError(f"{name}: wrk's report has no figures:\n{text}")
    return Sample(float(rate.group(1)), *(float(found.group(1)) * UNITS[found.group(2)] for found in (median, late)))


def refusals(text, name):
    """The answers a second of a run in which each answer has to be a refusal."""
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    made = re.search(r"(\d+) requests in ([\d.]+)(s|m)", text)
    if not refused or not made or refused.group(1) != made.group(1):
        raise BenchError(f"{name}: not all answers were refusals:\n{text}")
    return float(made.group(1)) / (float(made.group(2)) * UNITS[made.group(3)] / 1e6)


def check(server, plugins):
    """Every plugin has to have changed the request and the response."""
    def holds(status, headers, body):
        stamps = sum(len(value.split(",")) for name, value in headers if name.lower() == "x-bench-response")
        reached = body.startswith("request:") and (body.strip() != "request:") == (plugins > 0)
        return status == 200 and stamps == plugins and reached

    server.wait_until(holds, f"200 with {plugins} plugins' headers on request and response", 120)


def check_gets(server, gets):
    """The plugin has to have found the value as often as it was asked to."""
    status, _, body = server.get("/found", headers={"x-gets": str(gets)})
    if status != 200 or body.strip() != f"found:{gets}":
        raise BenchError(f"{server.name}: asked for {gets} reads of shared data, the plugin says {body!r}")
