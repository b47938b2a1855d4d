"""What the cases run against: which plugins with which configuration, by name."""

import hosts
import peers


def start_peers():
    upstream = peers.Upstream()
    upstream.grpc_port = 0
    return upstream


def setup(name, abi):
    if name == "one":
        return hosts.Setup(name, [hosts.Plugin(
            "a", abi, vm_id="vm-a", environment={"CONFORMANCE": "yes", "SECOND": ""})])
    if name == "chain":
        return hosts.Setup(name, [hosts.Plugin("a", abi), hosts.Plugin("b", abi)])
    if name == "shared":
        return hosts.Setup(name, [hosts.Plugin("a", abi, vm_id="shared"), hosts.Plugin("b", abi, vm_id="shared", vm_configuration="b")])
    if name == "bounded":
        return hosts.Setup(name, [hosts.Plugin("a", abi)], buffer_limit=65536)
    if name == "tcp":
        return hosts.Setup(name, [hosts.Plugin("a", abi), hosts.Plugin("t", abi, kind="tcp")])
    raise KeyError(name)
