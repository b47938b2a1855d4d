#!/usr/bin/env python3
"""A gRPC server of the usual library, for the tests of calls out: messages are bytes, so nothing is generated.

    grpc_server.py PORT_FILE [CERTIFICATE KEY [CLIENT_AUTHORITY]]

Writes its port into PORT_FILE once it serves, and ends when its standard input does.
"""

import os
import sys
import time
from concurrent import futures

import grpc


def unary(request, context):
    context.send_initial_metadata((("x-initial", "one"),))
    context.set_trailing_metadata((("x-trailing", "two"), ("data-bin", b"\x00\xff")))
    return b"echo:" + request


def fail(request, context):
    context.set_trailing_metadata((("x-why", "because"),))
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: " + request.decode())


def metadata(request, context):
    lines = []
    for key, value in context.invocation_metadata():
        lines.append("%s=%s" % (key, value.hex() if isinstance(value, bytes) else value))
    return "\n".join(sorted(lines)).encode()


def slow(request, context):
    left = context.time_remaining()
    while context.is_active():
        time.sleep(0.02)
    return ("%s" % left).encode()


def big(request, context):
    return b"x" * int(request)


def server_stream(request, context):
    count, size = (int(part) for part in request.split())
    for number in range(count):
        yield (b"%d:" % number).ljust(size, b".")


def client_stream(requests, context):
    return b",".join(requests)


def bidi(requests, context):
    for request in requests:
        if request == b"fail":
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "told to")
        yield b"echo:" + request


HANDLERS = {
    "/test.Peer/Unary": grpc.unary_unary_rpc_method_handler(unary),
    "/test.Peer/Fail": grpc.unary_unary_rpc_method_handler(fail),
    "/test.Peer/Metadata": grpc.unary_unary_rpc_method_handler(metadata),
    "/test.Peer/Slow": grpc.unary_unary_rpc_method_handler(slow),
    "/test.Peer/Big": grpc.unary_unary_rpc_method_handler(big),
    "/test.Peer/ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
    "/test.Peer/ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
    "/test.Peer/Bidi": grpc.stream_stream_rpc_method_handler(bidi),
}


class Handlers(grpc.GenericRpcHandler):
    def service(self, details):
        return HANDLERS.get(details.method)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def main():
    port_file, tls = sys.argv[1], sys.argv[2:]
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=16), handlers=(Handlers(),),
        options=(("grpc.max_concurrent_streams", 8), ("grpc.max_receive_message_length", -1),
                 ("grpc.max_send_message_length", -1)))
    if tls:
        authority = read(tls[2]) if len(tls) > 2 else None
        credentials = grpc.ssl_server_credentials(
            [(read(tls[1]), read(tls[0]))], root_certificates=authority, require_client_auth=authority is not None)
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with open(port_file + ".partial", "w", encoding="ascii") as file:
        file.write(str(port))
    os.rename(port_file + ".partial", port_file)
    sys.stdin.buffer.read()
    server.stop(0)
    os._exit(0)


if __name__ == "__main__":
    main()
