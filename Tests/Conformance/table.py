"""RESULTS.md: function x ABI x result, what differs from Envoy, and what no case shows."""

from case import ABIS
from spec import FUNCTIONS, UNREACHABLE


def _cases_by_function(cases):
    found = {}
    for case in cases:
        for function, status in case.coverage():
            found.setdefault(function, []).append((status, case))
    return found


def gaps(cases):
    """Documented (function, status, ABI) that no case shows."""
    shown = {(function, status, abi) for case in cases for function, status in case.coverage() for abi in case.abi}
    functions = {(function, abi) for function, _, abi in shown}
    missing = []
    for function, abis, statuses in FUNCTIONS:
        for abi in abis:
            for status in statuses.split() or [""]:
                reached = (function, status, abi) in shown if status else (function, abi) in functions
                if not reached and (function, status) not in UNREACHABLE:
                    missing.append(f"{function} {status} ({abi})")
    return missing


def render(cases, results):
    by_function = _cases_by_function(cases)
    names = list(dict.fromkeys(name for name, _, _ in FUNCTIONS))
    names += sorted(set(by_function) - set(names))
    lines = [
        "# Conformance", "",
        "Written by `make conformance`, which runs every case against Bulkhead and fails where this file says anything "
        "else than the run. A cell has the number of cases and the documented statuses that they show; what a callback "
        "or function answers in each is in [cases](cases). An ABI that does not have the function has a dash.", "",
        "| function | " + " | ".join(ABIS) + " |", "|---|" + "---|" * len(ABIS)]
    total = failed = 0
    for name in names:
        cells = []
        for abi in ABIS:
            shown = [(status, case) for status, case in by_function.get(name, []) if abi in case.abi]
            unique = {case.name: case for _, case in shown}
            bad = sum(1 for case in unique if results.get((case, abi)))
            statuses = list(dict.fromkeys(status for status, _ in shown if status))
            total, failed = total + len(unique), failed + bad
            if not unique:
                cells.append("-")
            else:
                text = "ok" if not bad else f"**{bad} failed**"
                cells.append(f"{text}, {len(unique)}" + (f": {', '.join(statuses)}" if statuses else ""))
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    runs = len(results)
    lines += ["", f"{len(cases)} cases, {runs} runs, {sum(1 for wrong in results.values() if wrong)} failed.", "",
              "## Where Envoy 1.40 does something else", "",
              "The same plugins, the same cases, `make conformance CONFORMANCE=--envoy`.", "",
              "| case | why |", "|---|---|"]
    lines += [f"| `{case.name}` | {case.why} |" for case in cases if case.envoy]
    lines += ["", "## Documented, and not shown", "", "| function | status | why |", "|---|---|---|"]
    lines += [f"| `{name}` | {status} | {why} |" for (name, status), why in UNREACHABLE.items()]
    return "\n".join(lines) + "\n"
