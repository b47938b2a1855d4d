"""All cases, in the order of the specification."""

from . import buffers, calls, chain, grpc, headers, lifecycle, shared, streams, system, tcp

CASES = [
    *lifecycle.CASES, *system.CASES, *buffers.CASES, *headers.CASES, *streams.CASES, *calls.CASES, *grpc.CASES, *shared.CASES,
    *tcp.CASES, *chain.CASES]
