"""Gives SwiftPM the versions of packages that are noted in .ci/versions (`give`), or notes those that it has (`note`)."""

import json
import pathlib
import sys

NOTED = pathlib.Path(".ci/versions")
RESOLVED = pathlib.Path("Package.resolved")


def identity(location):
    return location.rsplit("/", 1)[-1].removesuffix(".git").lower()


def resolved():
    """What SwiftPM has, by package; nothing where it has nothing, or nothing that can be read."""
    try:
        pins = json.loads(RESOLVED.read_text())["pins"]
        return {pin["identity"]: (pin["location"], pin["state"]["version"], pin["state"]["revision"]) for pin in pins}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def noted():
    lines = [line.split() for line in NOTED.read_text().splitlines() if line and not line.startswith("#")]
    return {identity(location): (location, version, revision) for location, version, revision in lines}


def give():
    wanted, there = noted(), resolved()
    if all(there.get(name, ("", "", ""))[2] == revision for name, (_, _, revision) in wanted.items()):
        return
    pins = [
        {"identity": name, "kind": "remoteSourceControl", "location": location,
         "state": {"revision": revision, "version": version}}
        for name, (location, version, revision) in sorted(wanted.items())]
    RESOLVED.write_text(json.dumps({"pins": pins, "version": 2}, indent=2) + "\n")


def note():
    pins = resolved()
    if not pins:
        sys.exit("versions: there is no Package.resolved to read: run swift package resolve")
    head = [line for line in NOTED.read_text().splitlines() if line.startswith("#")]
    NOTED.write_text("\n".join(head + [" ".join(pins[name]) for name in sorted(pins)]) + "\n")


{"give": give, "note": note}[sys.argv[1]]()
