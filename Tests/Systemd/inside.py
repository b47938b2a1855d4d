#!/usr/bin/env python3
"""The test proper: runs as a unit of the container that Tests/Systemd/run boots, and prints what holds."""

import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

CONFIGURATION = pathlib.Path("/etc/bulkhead/bulkhead.yaml")
checks = 0


def sh(*command, check=True):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.returncode}: {done.stdout}")
    return done.stdout


def show(name, unit="bulkhead.service"):
    return sh("systemctl", "show", "--value", "-p", name, unit).strip()


def until(what, condition, seconds=20.0):
    """Waits for a condition, which may raise while it does not hold yet."""
    end, last = time.monotonic() + seconds, None
    while time.monotonic() < end:
        try:
            last = condition()
            if last:
                return last
        except (OSError, http.client.HTTPException, AssertionError, ValueError) as error:
            last = error
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds} s; last: {last!r}")


def holds(condition, what, seen=""):
    global checks
    if not condition:
        raise AssertionError(f"{what}: {seen}")
    checks += 1
    print(f"  ok  {what}" + (f" ({seen})" if seen != "" else ""), flush=True)


def ask(port=8080, key="demo-key", timeout=10):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", "/", headers={"x-api-key": key} if key else {})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def status():
    return json.loads(sh("bulkheadctl", "status", "--output", "json"))


def workers():
    return json.loads(sh("bulkheadctl", "workers", "--output", "json"))["workers"]


def processes():
    """The processes of Bulkhead, by name."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                name = (entry / "comm").read_text().strip()
            except OSError:
                continue
            if name.startswith("bulkhead"):
                found.append((int(entry.name), name))
    return found


class Load:
    """Clients that connect again and again, and count what happens to them."""

    def __init__(self, port=8080):
        self.port, self.done, self.good, self.refused, self.broken, self.why = port, False, 0, 0, 0, []
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.done:
            try:
                status = ask(self.port, timeout=20)
                if status == 200:
                    self.good += 1
                else:
                    self.lost(f"status {status}")
            except ConnectionRefusedError:
                self.refused += 1
            except (OSError, http.client.HTTPException) as error:
                self.lost(f"{type(error).__name__}: {error}")
            time.sleep(0.002)

    def lost(self, why):
        self.broken += 1
        self.why = (self.why + [why])[-5:]

    def __str__(self):
        lost = f", {self.broken} lost: {self.why}" if self.broken else ""
        return f"{self.good} served, {self.refused} refused{lost}"

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done = True
        self.thread.join()


def active():
    return show("ActiveState") == "active"


def main_pid():
    return int(show("MainPID"))


def part(name):
    print(name, flush=True)


def main():
    sh("ip", "link", "set", "lo", "up", check=False)

    part("units")
    complaints = sh("systemd-analyze", "verify", "/usr/local/lib/systemd/system/bulkhead.service", check=False)
    mine = [line for line in complaints.splitlines() if "bulkhead" in line and "man " not in line]
    holds(not mine, "systemd-analyze verify has nothing to say", "; ".join(mine))
    last = sh("systemd-analyze", "security", "--no-pager", "bulkhead.service", check=False).strip().splitlines()[-1]
    print(f"      {last}")
    level = float(last.split(": ")[1].split()[0])
    holds(level <= 2.3, "systemd-analyze security is at most 2.3", level)

    part("start")
    began = time.monotonic()
    sh("systemctl", "start", "bulkhead.service")
    holds(ask() == 200, "when systemctl start returns, requests are served", f"{time.monotonic() - began:.1f} s")
    holds(ask(key=None) == 401, "and filtered")
    holds(show("StatusText").startswith("Serving; 1 of 1 plugins ready"), "the status says so", show("StatusText"))
    holds(sh("stat", "-c", "%U", f"/proc/{main_pid()}").strip() not in ("root", "nobody"), "it runs as a user of its own")
    missing = [
        f"{layer['layer']}: {layer['why']}" for worker in workers() for layer in worker["isolation"] if not layer["holds"]]
    print("      layers missing here: " + ("; ".join(missing) or "none"))
    names = {item.split(":")[0] for item in missing}
    holds(not names - {"cgroup", "oomScore", "uid"}, "the hardening of the unit leaves the worker its sandbox", sorted(names))
    until("two stored sockets", lambda: show("NFileDescriptorStore") == "2")
    holds(True, "both listening sockets are stored")
    entries = [json.loads(line) for line in sh(
        "journalctl", "-u", "bulkhead.service", "-o", "json", "--no-pager").splitlines()]
    ours = [entry for entry in entries if "process=" in str(entry.get("MESSAGE"))]
    holds(ours and all(not entry["MESSAGE"].startswith("<") for entry in ours), "journald takes the priorities")
    levels = {entry["MESSAGE"].split()[0]: entry["PRIORITY"] for entry in ours}
    holds(levels.get("info") == "6", "info is priority 6", levels)
    mine = [json.loads(line) for line in sh(
        "journalctl", "-u", "bulkhead.service", "PROCESS=worker", "SOURCE=bulkhead", "-o", "json", "--no-pager").splitlines()]
    holds(mine and all(entry.get("PLUGIN") and entry.get("WORKER_PID") for entry in mine), "the journal has fields of ours")

    part("reload")
    before = {worker["pid"] for worker in workers()}
    sh("systemctl", "reload", "bulkhead.service")
    holds(active() and ask() == 200, "systemctl reload returns, and requests are served")
    holds({worker["pid"] for worker in workers()} == before, "a configuration that has not changed keeps its workers")
    good = CONFIGURATION.read_text()
    CONFIGURATION.write_text(good + "nonsense: 1\n")
    refused = subprocess.run(["systemctl", "reload", "bulkhead.service"], capture_output=True).returncode
    CONFIGURATION.write_text(good)
    holds(refused != 0 and active() and ask() == 200, "a bad configuration fails the reload and changes nothing")

    part("upgrade")
    front, pid = status()["front"]["pid"], main_pid()
    with Load() as load:
        until("requests", lambda: load.good > 20)
        sh("bulkheadctl", "upgrade")
        until("a new front", lambda: status()["front"].get("pid") not in (None, front))
        good_before = load.good
        until("requests again", lambda: load.good > good_before + 20)
    holds(load.refused == 0 and load.broken == 0, "no connection refused, no request lost", load)
    holds(main_pid() == pid and active() and show("NRestarts") == "0", "for systemd it is the same process")
    until("the status of the new one", lambda: show("StatusText").startswith("Serving; 1 of 1 plugins ready"))
    holds(show("NFileDescriptorStore") == "2", "the listening sockets stay stored")

    part("the supervisor crashes")
    pid, children = main_pid(), {child for child, _ in processes()}
    with Load() as load:
        until("requests", lambda: load.good > 20)
        os.kill(pid, signal.SIGKILL)
        until("a new supervisor", lambda: main_pid() not in (0, pid) and active())
        good_before = load.good
        until("requests again", lambda: load.good > good_before + 20)
    holds(load.refused == 0, "no connection is refused", load)
    holds(load.broken <= 2, "only what was in flight is lost", load)
    left = {child for child, _ in processes()} & children
    holds(not left, "nothing of the old one is left", left)
    holds(show("NRestarts") == "1", "systemd counts one restart", show("NRestarts"))
    holds(ask(port=8081) == 200, "the other listener serves too")

    part("the front crashes")
    front = status()["front"]["pid"]
    pid = main_pid()
    with Load() as load:
        until("requests", lambda: load.good > 20)
        os.kill(front, signal.SIGKILL)
        until("a new front", lambda: status()["front"].get("pid") not in (None, front) and ask() == 200)
    holds(load.refused == 0 and main_pid() == pid, "it is replaced, and no connection is refused", load)

    part("watchdog")
    pathlib.Path("/run/systemd/system/bulkhead.service.d").mkdir(parents=True)
    pathlib.Path("/run/systemd/system/bulkhead.service.d/test.conf").write_text("[Service]\nWatchdogSec=2s\n")
    sh("systemctl", "daemon-reload")
    with Load() as load:
        until("requests", lambda: load.good > 20)
        sh("systemctl", "restart", "bulkhead.service")
        good_before = load.good
        until("requests again", lambda: load.good > good_before + 20)
    holds(load.refused == 0 and load.broken == 0, "systemctl restart: no connection refused, no request lost", load)
    time.sleep(3)
    holds(show("NRestarts") == "0" and active(), "a watchdog of 2 s is fed")
    front, pid = status()["front"]["pid"], main_pid()
    os.kill(front, signal.SIGSTOP)
    until("a new front", lambda: status()["front"].get("pid") not in (None, front) and ask(timeout=1) == 200)
    holds(main_pid() == pid, "a front that stands still is replaced alone")
    os.kill(pid, signal.SIGSTOP)
    until("a restart by the watchdog", lambda: main_pid() not in (0, pid) and active() and ask(timeout=1) == 200)
    holds(show("NRestarts") == "1", "a supervisor that stands still is replaced by systemd")
    journal = sh("journalctl", "-u", "bulkhead.service", "--no-pager", "-o", "cat")
    holds("Watchdog timeout" in journal, "by its watchdog")

    part("stop")
    with Load(port=8081) as load:
        until("requests", lambda: load.good > 20)
        sh("systemctl", "stop", "bulkhead.service")
    # One connection may wait in the stored socket when systemd lets go of it: had this been a restart, it would be served.
    holds(load.broken <= 1, "requests in flight are answered", load)
    holds(show("Result") == "success" and show("ActiveState") == "inactive", "it ends well", show("Result"))
    holds(not processes(), "nothing is left", processes())

    part("a configuration that is wrong")
    CONFIGURATION.write_text(good + "nonsense: 1\n")
    sh("systemctl", "start", "bulkhead.service", check=False)
    until("the end", lambda: show("ActiveState") == "failed")
    holds(show("ExecMainStatus") == "78", "exit code 78, and no restart", show("NRestarts"))
    holds("nonsense" in show("StatusText"), "the status says why", show("StatusText"))
    CONFIGURATION.write_text(good)
    sh("systemctl", "reset-failed", "bulkhead.service")

    part("socket activation")
    sh("systemctl", "start", "bulkhead.socket")
    holds(not processes(), "the socket alone starts nothing")
    holds(ask(port=80, timeout=20) == 200, "the first connection starts it, on the socket's port 80")
    holds("takes over the socket 'edge'" in sh("journalctl", "-u", "bulkhead.service", "--no-pager", "-o", "cat"),
          "the listener edge has the socket edge")
    pid = main_pid()
    with Load(port=80) as load:
        until("requests", lambda: load.good > 20)
        os.kill(pid, signal.SIGKILL)
        until("a new supervisor", lambda: main_pid() not in (0, pid) and active())
        good_before = load.good
        until("requests again", lambda: load.good > good_before + 20)
    holds(load.refused == 0 and ask(port=8081) == 200, "a crash refuses no connection, on neither kind of socket", load)
    sh("systemctl", "stop", "bulkhead.socket", "bulkhead.service")
    holds(not processes(), "nothing is left")

    part("as it is installed, with an access log")
    sample = pathlib.Path("/etc/bulkhead/sample").read_text()
    logged = sample.replace("#accessLog:", "accessLog:").replace("#  path: /var/log", "  path: /var/log")
    holds(logged != sample, "the sample shows an access log to switch on")
    CONFIGURATION.write_text(sample)
    sh("systemctl", "start", "bulkhead.service")
    holds(ask() == 200, "the sample serves")
    CONFIGURATION.write_text(logged)
    sh("systemctl", "restart", "bulkhead.service")
    log = pathlib.Path("/var/log/bulkhead/access.log")
    holds(ask() == 200, "and with the access log of the manual")
    until("its line", lambda: log.read_text().count("\n") == 1)
    holds(True, "its request is in the log")
    rotated = log.rename(log.with_suffix(".log.1"))
    rotate = [line.strip() for line in pathlib.Path("/etc/logrotate.d/bulkhead").read_text().splitlines() if "systemctl" in line]
    sh("sh", "-c", rotate[0])
    until("a new file", log.exists)
    holds(ask() == 200, "it serves after what logrotate does")
    until("its line", lambda: log.read_text().count("\n") == 1 and rotated.read_text().count("\n") == 1)
    holds(True, "and logs into a new file")

    part("an access log where the unit may not write")
    CONFIGURATION.write_text(logged.replace("/var/log/bulkhead/", "/opt/"))
    sh("systemctl", "restart", "bulkhead.service", check=False)
    until("the end", lambda: show("ActiveState") == "failed")
    holds(show("NRestarts") == "0", "is not tried again", show("ExecMainStatus"))
    holds("/opt/access.log" in show("StatusText"), "the status says why", show("StatusText"))
    sh("systemctl", "reset-failed", "bulkhead.service")

    part("a port under 1024, without bulkhead.socket")
    CONFIGURATION.write_text(sample.replace("127.0.0.1:8080", "0.0.0.0:80"))
    sh("systemctl", "start", "bulkhead.service", check=False)
    until("the reason", lambda: "0.0.0.0:80" in show("StatusText") or show("ActiveState") == "failed")
    holds("0.0.0.0:80" in show("StatusText"), "the status says what cannot be bound", show("StatusText"))
    sh("systemctl", "stop", "bulkhead.service", check=False)
    sh("systemctl", "reset-failed", "bulkhead.service", check=False)
    sh("install", "-D", "-m", "644", "/low-ports.conf", "/etc/systemd/system/bulkhead.service.d/low-ports.conf")
    sh("systemctl", "daemon-reload")
    sh("systemctl", "start", "bulkhead.service")
    holds(ask(port=80) == 200, "with the drop-in low-ports.conf it is bound")
    sh("systemctl", "stop", "bulkhead.service")
    holds(not processes(), "nothing is left")

    print(f"systemd: all of it holds, {checks} checks")
    pathlib.Path("/test-passed").touch()


try:
    main()
except Exception as error:  # whatever it is, the journal says more
    print(f"FAILED: {error}", flush=True)
    print(sh("systemctl", "status", "--no-pager", "-n", "60", "bulkhead.service", check=False))
    print(sh("journalctl", "--no-pager", "-n", "60", check=False))
    sys.exit(1)
