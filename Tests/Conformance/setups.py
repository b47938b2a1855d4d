"""What the cases run against: which plugins with which configuration, by name."""

import os
import pathlib
import subprocess
import sys
import time

import hosts
import peers

GRPC_SERVER = hosts.ROOT / "Tests/Peers/grpc_server.py"
PACKAGES = hosts.ROOT / ".build/deps/python"


def start_grpc(directory):
    """The gRPC server of the tests: its port. It ends with this process, whose end of the pipe it reads."""
    port_file = directory / "grpc-port"
    server = subprocess.Popen(
        [sys.executable, "-B", str(GRPC_SERVER), str(port_file)], stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{PACKAGES}:{os.environ.get('PYTHONPATH', '')}"})
    deadline = time.monotonic() + 20
    while not port_file.exists():
        if server.poll() is not None or time.monotonic() > deadline:
            raise hosts.HostError(f"{GRPC_SERVER} does not start: its packages come with `.ci/deps --test`")
        time.sleep(0.02)
    return server, int(port_file.read_text())


def start_peers(directory):
    upstream = peers.Upstream()
    upstream.grpc_server, upstream.grpc_port = start_grpc(pathlib.Path(directory))
    return upstream

# What the plugin of the restricted setup may do: enough to run a script and to tell of it.
ALLOWED = [
    "proxy_on_context_create", "proxy_on_vm_start", "proxy_on_configure", "proxy_on_request_headers",
    "proxy_on_request_body", "proxy_on_done", "proxy_on_delete", "proxy_get_header_map_value",
    "proxy_send_local_response", "proxy_set_tick_period_milliseconds", "proxy_get_configuration",
    "proxy_get_buffer_bytes", "random_get"]


def setup(name, abi):
    if name == "one":
        return hosts.Setup(name, [hosts.Plugin(
            "a", abi, vm_id="vm-a", environment={"CONFORMANCE": "yes", "SECOND": ""})])
    if name == "chain":
        return hosts.Setup(name, [hosts.Plugin("a", abi), hosts.Plugin("b", abi)])
    if name == "restricted":
        return hosts.Setup(name, [hosts.Plugin("a", abi, capabilities=ALLOWED)])
    if name == "shared":
        # Under Envoy the configuration keeps the two in VMs of their own.
        return hosts.Setup(name, [
            hosts.Plugin("a", abi, vm_id="shared"), hosts.Plugin("b", abi, vm_id="shared", vm_configuration="b")])
    if name == "no-calls":
        return hosts.Setup(name, [hosts.Plugin("a", abi)], calls_in_flight=0)
    if name == "bounded":
        return hosts.Setup(name, [hosts.Plugin("a", abi)], buffer_limit=65536)
    if name == "tcp":
        return hosts.Setup(name, [hosts.Plugin("a", abi), hosts.Plugin("t", abi, kind="tcp")])
    raise KeyError(name)
