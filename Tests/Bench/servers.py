"""Starts and ends what is measured: the upstream, Bulkhead and Envoy, each on a free loopback port."""

import ctypes
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PLUGIN = ROOT / ".build/plugins/header.wasm"
RELEASE = ROOT / ".build/release"
# The bodies of the table of bodies.
BODIES = {"64KiB": 64 << 10, "10MiB": 10 << 20}
ENVOY = ROOT / ".build/deps/bin/envoy"

# A chain of 100 plugins answers with more headers than Python expects of a server.
http.client._MAXHEADERS = 1000


class BenchError(Exception):
    """Something that makes figures meaningless: the benchmark stops and says what."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _die_with_parent():
    # PR_SET_PDEATHSIG: nothing outlives a benchmark that was killed.
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class ControlConnection(http.client.HTTPConnection):
    """A connection to a control socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=5)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(5)
        self.sock.connect(self.path)


class Server:
    """One started process, its port and its log. Ended by its pid, in order, and killed where it does not end."""

    def __init__(self, name, command, port, directory):
        self.name, self.port, self.directory = name, port, directory
        self.log = directory / "log"
        # Servers that live and end with this one.
        self.companions = []
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory,
                start_new_session=True, preexec_fn=_die_with_parent)

    def get(self, path="/", timeout=5, headers=None):
        """Status, headers as a list of pairs, and body of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request("GET", path, headers={"user-agent": "bench", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read().decode("utf-8", "replace")
        finally:
            connection.close()

    def control(self, path):
        """What Bulkhead's control socket answers to a GET."""
        connection = ControlConnection(self.directory / "control.sock")
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            text = answer.read().decode()
            if answer.status != 200:
                raise BenchError(f"{self.name}: GET {path}: {answer.status} {text}")
            return text
        finally:
            connection.close()

    def ready_workers(self):
        return sum(worker["state"] == "ready" for worker in json.loads(self.control("/v1/workers"))["workers"])

    def wait_until(self, holds, what, seconds=60):
        """Asks until `holds(status, headers, body)`; fails with the server's last words."""
        deadline, last = time.monotonic() + seconds, "no answer"
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise BenchError(f"{self.name} ended with code {self.process.returncode}:\n{self.tail()}")
            try:
                last = self.get("/check")
                if holds(*last):
                    return
            except (OSError, http.client.HTTPException) as error:
                last = error
            time.sleep(0.1)
        raise BenchError(f"{self.name}: {what} does not hold after {seconds} s; last: {last}\n{self.tail()}")

    def tail(self):
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-20:])

    def pids(self):
        """This process and all that descend from it."""
        children = {}
        for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
        found, queue = [], [self.process.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            queue.extend(children.get(pid, []))
        return found

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(15)
        for companion in self.companions:
            companion.stop()


def pss_bytes(pid):
    """Proportional set size: shared pages count by the share, so that a sum over processes is what they cost."""
    try:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def worker_bytes(server):
    """The median of what Bulkhead's workers cost, or None where there are none."""
    sizes = []
    for pid in server.pids():
        try:
            if os.readlink(f"/proc/{pid}/exe").endswith("/bulkhead-worker"):
                sizes.append(pss_bytes(pid))
        except OSError:
            continue
    return statistics.median(sizes) if sizes else None


def start_upstream(directory):
    """One nginx worker that answers 200 with a few bytes; /check answers with the plugin's request header."""
    directory.mkdir()
    port = free_port()
    temporary = "\n".join(
        f"  {kind}_temp_path {directory}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (directory / "nginx.conf").write_text(f"""
daemon off;
worker_processes 1;
pid {directory}/pid;
error_log {directory}/errors warn;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
{temporary}
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    location / {{ return 200 "hello from upstream\\n"; }}
    location = /check {{ return 200 "request:$http_x_bench_request\\n"; }}
    location /storm {{ return 200 "request:$http_x_faulty\\n"; }}
    location = /found {{ return 200 "found:$http_x_found\\n"; }}
  }}
}}
""")
    nginx = "/usr/sbin/nginx" if os.path.exists("/usr/sbin/nginx") else "nginx"
    server = Server(
        "nginx", [nginx, "-p", directory, "-c", directory / "nginx.conf", "-e", directory / "errors"], port, directory)
    server.wait_until(lambda status, *_: status == 200, "an answer", 10)
    return server


def compiled(name, directory):
    """The program of Tests/Bench/NAME.c, in that directory."""
    binary = directory / name
    done = subprocess.run(
        [shutil.which("cc") or "clang", "-O2", "-pthread", "-o", str(binary), str(ROOT / f"Tests/Bench/{name}.c")],
        capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BenchError(f"{name}.c does not compile:\n{done.stderr}")
    return binary


def start_body_upstream(directory):
    """Answers `/body/SIZE` with so many bytes, once it has read the request's own."""
    directory.mkdir()
    port = free_port()
    server = Server("body_server", [compiled("body_server", directory), str(port)], port, directory)
    server.wait_until(lambda status, *_: status == 200, "an answer", 10)
    return server


def start_bulkhead(directory, upstream, plugins, module=PLUGIN):
    """Bulkhead with one event loop and that many times the plugin, each in a worker of its own."""
    names = [f"header-{number:03}" for number in range(plugins)]
    return run_bulkhead(directory, upstream, {
        name: manifest(name, module, f"priority: {number}") for number, name in enumerate(names)}, log_level="warn")


def manifest(name, module, spec, policy="default"):
    """A WasmPlugin manifest; `spec` is the rest of its keys, in YAML's flow style."""
    return f"""
apiVersion: extensions.istio.io/v1alpha1
kind: WasmPlugin
metadata: {{name: {name}, annotations: {{bulkhead/policy: {policy}}}}}
spec: {{url: "file://{module}", pluginName: {name}, {spec}}}
"""


def run_bulkhead(directory, upstream, manifests, policies=None, log_level="error", loops=1):
    """Bulkhead with so many event loops, these manifests and these policies, texts by name."""
    port = free_port()
    _write_bulkhead(directory, port, upstream.port, manifests, policies or {}, loops)
    return Server(
        directory.name,
        [RELEASE / "bulkheadd", "--config", directory / "bulkhead.yaml", "--log-level", log_level], port, directory)


def refusal_of(directory, policy):
    """What this build says to a policy with these keys, or None where it takes them: some tables are about keys that not
    every build knows."""
    _write_bulkhead(directory, 1, 1, {}, {"asked": f"name: asked\nextends: default\n{policy}\n"}, 1)
    done = subprocess.run(
        [RELEASE / "bulkheadd", "--check", "--config", directory / "bulkhead.yaml"], capture_output=True, text=True,
        timeout=60, check=False)
    return None if done.returncode == 0 else (done.stderr or done.stdout).strip()


def _write_bulkhead(directory, port, upstream_port, manifests, policies, loops):
    for kind, texts in (("plugins.d", manifests), ("policies", policies)):
        (directory / kind).mkdir(parents=True)
        for name, text in texts.items():
            (directory / f"{kind}/{name}.yaml").write_text(text)
    (directory / "bulkhead.yaml").write_text(f"""
listeners: [{{name: edge, address: "127.0.0.1:{port}", upstream: app}}]
upstreams: [{{name: app, endpoints: ["127.0.0.1:{upstream_port}"]}}]
plugins: plugins.d
policies: policies
cache: cache
control: {{socket: control.sock}}
runtime: {{eventLoops: {loops}}}
""")


def envoy_configuration(port, upstream, filters, clusters=()):
    router = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
    }
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
                 "HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{
            "name": "all", "domains": ["*"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}],
        }]},
        "http_filters": [*filters, router],
    }

    def address(port):
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    app = {
        "name": "app", "type": "STATIC", "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "app", "endpoints": [{
            "lb_endpoints": [{"endpoint": {"address": address(upstream.port)}}]}]},
    }
    return {"static_resources": {
        "listeners": [{"name": "edge", "address": address(port), "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}],
        "clusters": [app, *clusters],
    }}


def start_envoy(directory, upstream, plugins, module=PLUGIN):
    """Envoy with one worker thread and that many times the plugin, each in a V8 VM of its own."""
    return start_envoy_modules(directory, upstream, [module] * plugins)


def start_envoy_modules(directory, upstream, modules):
    """Envoy with one worker thread and a chain of these plugins, each in a V8 VM of its own."""
    filters = [{
        "name": f"header-{number:03}",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {
                "name": f"header-{number:03}", "root_id": f"header-{number:03}",
                "vm_config": {
                    "vm_id": f"header-{number:03}", "runtime": "envoy.wasm.runtime.v8",
                    "code": {"local": {"filename": str(module)}},
                },
            },
        },
    } for number, module in enumerate(modules)]
    return run_envoy(directory.name, directory, lambda port: envoy_configuration(port, upstream, filters))


def run_envoy(name, directory, configuration, loops=1):
    directory.mkdir()
    port = free_port()
    (directory / "envoy.json").write_text(json.dumps(configuration(port), indent=1))
    return Server(
        name,
        [ENVOY, "-c", directory / "envoy.json", "--concurrency", str(loops), "--disable-hot-restart", "--log-level", "error"],
        port, directory)


def start_ext_proc(directory, upstream, _plugins):
    """Envoy with one worker thread that asks a gRPC server on a Unix socket, which does what the plugin does."""
    directory.mkdir()
    processor, binary = directory / "processor", compiled("ext_proc", directory)
    peer = Server("ext_proc", [binary, processor], 0, directory)
    deadline = time.monotonic() + 10
    while not processor.exists():
        if time.monotonic() > deadline:
            raise BenchError(f"the ext_proc server makes no socket:\n{peer.tail()}")
        time.sleep(0.05)
    cluster = {
        "name": "processor", "type": "STATIC", "connect_timeout": "5s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}}}},
        "load_assignment": {"cluster_name": "processor", "endpoints": [{
            "lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(processor)}}}}]}]},
    }
    ext_proc = {
        "name": "envoy.filters.http.ext_proc",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor",
            "grpc_service": {"envoy_grpc": {"cluster_name": "processor"}}, "message_timeout": "5s",
            "processing_mode": {
                "request_header_mode": "SEND", "response_header_mode": "SEND", "request_body_mode": "NONE",
                "response_body_mode": "NONE", "request_trailer_mode": "SKIP", "response_trailer_mode": "SKIP"},
        },
    }
    server = run_envoy(
        "envoy-ext_proc", directory / "envoy",
        lambda port: envoy_configuration(port, upstream, [ext_proc], [cluster]))
    server.companions.append(peer)
    return server
