"""Starts what the cases run against: Bulkhead from real binaries, or Envoy with the same plugins."""

import ctypes
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PLUGINS = ROOT / ".build/plugins"
ENVOY = ROOT / ".build/deps/bin/envoy"


class HostError(Exception):
    """A host does not start, or ended."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _die_with_parent():
    # PR_SET_PDEATHSIG: nothing outlives a run that was killed.
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Process:
    """A started host, its ports and its log."""

    def __init__(self, command, directory, ports):
        self.directory, self.ports = directory, ports
        self.log = directory / "log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory,
                start_new_session=True, preexec_fn=_die_with_parent)

    def text(self):
        return self.log.read_text("utf-8", "replace")

    def wait_until(self, holds, what, seconds=60):
        deadline, last = time.monotonic() + seconds, "no answer"
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise HostError(f"ended with code {self.process.returncode} before {what}:\n{self.text()[-3000:]}")
            try:
                if holds():
                    return
            except (OSError, http.client.HTTPException, ValueError) as error:
                last = error
            time.sleep(0.02)
        raise HostError(f"{what} is never true; last: {last}\n{self.text()[-3000:]}")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(15)


class Plugin:
    """One plugin of a setup: which module, which name, and what it is configured with."""

    def __init__(self, name, abi, kind="http", script="", vm_id="", vm_configuration="", environment=None,
                 capabilities=None, configuration=None, root_id=None):
        self.name, self.abi, self.kind, self.vm_id = name, abi, kind, vm_id
        self.vm_configuration, self.environment = vm_configuration, environment or {}
        self.capabilities = capabilities
        self.root_id = f"{name}-root" if root_id is None else root_id
        self.configuration = configuration or {"name": name, **({"script": script} if script else {})}

    def module(self, host):
        return PLUGINS / f"conformance-{self.abi}{'-envoy' if host == 'envoy' else ''}.wasm"


class Setup:
    """What a group of cases runs against."""

    def __init__(self, name, plugins, buffer_limit=0, upstreams=(), calls_in_flight=None):
        self.name, self.plugins, self.buffer_limit = name, plugins, buffer_limit
        # Bulkhead alone has such a bound.
        self.calls_in_flight = calls_in_flight
        # Further names for the scripted upstream.
        self.upstreams = upstreams


# Bulkhead.


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=5)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(5)
        self.sock.connect(self.path)


class Bulkhead(Process):
    name = "bulkhead"

    def __init__(self, setup, directory, upstream, binaries):
        self.setup = setup
        directory.mkdir()
        for folder in ("plugins.d", "policies"):
            (directory / folder).mkdir()
        ports = {"http": free_port()}
        has_tcp = any(plugin.kind == "tcp" for plugin in setup.plugins)
        listeners = [f'{{name: edge, address: "127.0.0.1:{ports["http"]}", upstream: up}}']
        if has_tcp:
            ports["tcp"] = free_port()
            listeners.append(
                f'{{name: tcp, protocol: tcp, address: "127.0.0.1:{ports["tcp"]}", upstream: tcp}}')
        upstreams = [
            f'{{name: up, endpoints: ["127.0.0.1:{upstream.port}"]}}',
            f'{{name: tcp, endpoints: ["127.0.0.1:{upstream.tcp_port}"]}}',
            f'{{name: dead, endpoints: ["127.0.0.1:{upstream.dead_port}"]}}',
        ]
        upstreams += [f'{{name: {name}, endpoints: ["127.0.0.1:{upstream.port}"]}}' for name in setup.upstreams]
        if upstream.grpc_port:
            upstreams.append(f'{{name: grpc, protocol: http2, endpoints: ["127.0.0.1:{upstream.grpc_port}"]}}')
        (directory / "bulkhead.yaml").write_text(
            f"listeners: [{', '.join(listeners)}]\nupstreams: [{', '.join(upstreams)}]\n"
            "plugins: plugins.d\npolicies: policies\ncache: ../cache\ncontrol: {socket: control.sock}\n"
            "runtime: {eventLoops: 1}\n")
        for priority, plugin in enumerate(setup.plugins):
            self._plugin(directory, setup, plugin, len(setup.plugins) - priority)
        super().__init__(
            [binaries / "bulkheadd", "--config", directory / "bulkhead.yaml", "--log-level", "info"], directory, ports)

    @staticmethod
    def _plugin(directory, setup, plugin, priority):
        policy = {"name": f"p-{plugin.name}", "callbackDeadline": "1s", "backoff": {"initial": "1ms", "max": "20ms"},
                  "budget": {"starts": 1000, "interval": "60s", "cpu": "none"}, "spare": {"keep": "0s"}}
        if setup.buffer_limit:
            policy["bufferLimit"] = f"{setup.buffer_limit}"
        if setup.calls_in_flight is not None:
            policy["callsInFlight"] = setup.calls_in_flight
        if plugin.capabilities is not None:
            policy["capabilities"] = plugin.capabilities
        (directory / f"policies/p-{plugin.name}.yaml").write_text(json.dumps(policy))
        annotations = {"bulkhead/policy": f"p-{plugin.name}"}
        if plugin.vm_id:
            annotations["bulkhead/vm-id"] = plugin.vm_id
        vm = {"env": [{"name": key, "value": value} for key, value in plugin.environment.items()]}
        spec = {
            "url": f"file://{plugin.module('bulkhead')}", "priority": priority, "pluginName": plugin.root_id,
            "pluginConfig": plugin.configuration, "failStrategy": "FAIL_CLOSE", "vmConfig": vm}
        if plugin.kind == "tcp":
            spec["type"] = "NETWORK"
        (directory / f"plugins.d/{plugin.name}.yaml").write_text(json.dumps({
            "apiVersion": "extensions.istio.io/v1alpha1", "kind": "WasmPlugin",
            "metadata": {"name": plugin.name, "annotations": annotations}, "spec": spec}))

    def control(self, path):
        connection = UnixConnection(self.directory / "control.sock")
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def ready(self):
        def holds():
            status, text = self.control("/v1/plugins")
            return status == 200 and all(plugin["state"] == "ready" for plugin in json.loads(text)["plugins"])
        self.wait_until(holds, "every plugin is ready")

    def metrics(self):
        return self.control("/v1/metrics")[1]


# Envoy.


def _any(kind, **fields):
    return {"@type": f"type.googleapis.com/envoy.{kind}", **fields}


def _address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _cluster(name, port, http2=False):
    cluster = {
        "name": name, "type": "STATIC", "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{
            "lb_endpoints": [{"endpoint": {"address": _address(port)}}]}]},
    }
    options = {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {"enable_trailers": True}}
    cluster["typed_extension_protocol_options"] = {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": _any(
        "extensions.upstreams.http.v3.HttpProtocolOptions", explicit_http_config=options)}
    return cluster


class Envoy(Process):
    name = "envoy"

    def __init__(self, setup, directory, upstream, _binaries):
        self.setup = setup
        directory.mkdir()
        ports = {"http": free_port(), "tcp": free_port(), "admin": free_port()}
        limit = setup.buffer_limit
        listeners = [self._http(setup, ports["http"], limit)]
        if any(plugin.kind == "tcp" for plugin in setup.plugins):
            listeners.append(self._tcp(setup, ports["tcp"]))
        clusters = [_cluster("up", upstream.port), _cluster("tcp", upstream.tcp_port),
                    _cluster("dead", upstream.dead_port)]
        clusters += [_cluster(name, upstream.port) for name in setup.upstreams]
        if limit:
            clusters[0]["per_connection_buffer_limit_bytes"] = limit
        if upstream.grpc_port:
            clusters.append(_cluster("grpc", upstream.grpc_port, http2=True))
        configuration = {
            "admin": {"address": _address(ports["admin"])},
            "static_resources": {"listeners": listeners, "clusters": clusters}}
        (directory / "envoy.json").write_text(json.dumps(configuration, indent=1))
        super().__init__(
            [ENVOY, "-c", directory / "envoy.json", "--concurrency", "1", "--disable-hot-restart", "--log-level",
             "error", "--component-log-level", "wasm:info"], directory, ports)

    @staticmethod
    def _wasm(plugin, kind):
        vm = {
            "vm_id": plugin.vm_id or plugin.name, "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": str(plugin.module("envoy"))}}}
        if plugin.environment:
            vm["environment_variables"] = {"key_values": plugin.environment}
        if plugin.vm_configuration:
            vm["configuration"] = {"@type": "type.googleapis.com/google.protobuf.StringValue",
                                   "value": plugin.vm_configuration}
        configuration = {
            "name": plugin.name, "root_id": plugin.root_id, "vm_config": vm,
            "configuration": {"@type": "type.googleapis.com/google.protobuf.StringValue",
                              "value": json.dumps(plugin.configuration, separators=(",", ":"))}}
        if plugin.capabilities is not None:
            configuration["capability_restriction_config"] = {
                "allowed_capabilities": {name: {} for name in plugin.capabilities}}
        return {"name": plugin.name, "typed_config": _any(
            f"extensions.filters.{kind}.wasm.v3.Wasm", config=configuration)}

    def _http(self, setup, port, limit):
        filters = [self._wasm(plugin, "http") for plugin in setup.plugins if plugin.kind == "http"]
        filters.append({"name": "envoy.filters.http.router",
                        "typed_config": _any("extensions.filters.http.router.v3.Router")})
        manager = _any(
            "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", stat_prefix="edge",
            http_filters=filters, http_protocol_options={"enable_trailers": True},
            access_log=[{"name": "log", "typed_config": _any(
                "extensions.access_loggers.file.v3.FileAccessLog", path="/dev/stdout")}],
            route_config={"virtual_hosts": [{
                "name": "all", "domains": ["*"],
                "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "up"}}]}]})
        listener = {"name": "edge", "address": _address(port), "filter_chains": [{"filters": [{
            "name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}]}
        if limit:
            listener["per_connection_buffer_limit_bytes"] = limit
        return listener

    def _tcp(self, setup, port):
        filters = [self._wasm(plugin, "network") for plugin in setup.plugins if plugin.kind == "tcp"]
        filters.append({"name": "envoy.filters.network.tcp_proxy", "typed_config": _any(
            "extensions.filters.network.tcp_proxy.v3.TcpProxy", stat_prefix="tcp", cluster="tcp")})
        return {"name": "tcp", "address": _address(port), "filter_chains": [{"filters": filters}]}

    def admin(self, path):
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["admin"], timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def ready(self):
        self.wait_until(lambda: self.admin("/ready")[0] == 200, "Envoy is ready")

    def metrics(self):
        return self.admin("/stats/prometheus")[1]


def envoy_is_here():
    return ENVOY.exists() and os.access(ENVOY, os.X_OK) and shutil.which("true") is not None
