"""All cases, in the order of the specification."""

from . import buffers, calls, headers, lifecycle, shared, streams, system

CASES = [
    *lifecycle.CASES, *system.CASES, *buffers.CASES, *headers.CASES, *streams.CASES, *calls.CASES, *shared.CASES]
