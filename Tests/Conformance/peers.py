"""Both ends of a case's wire: a scripted upstream, and clients that show exactly what came."""

import json
import socket
import threading
import time


class PeerError(Exception):
    """The other side did not keep to the protocol."""


class Reader:
    """Bytes of a socket as lines, counts and chunked bodies."""

    def __init__(self, connection):
        self.connection, self.buffer = connection, b""

    def fill(self):
        piece = self.connection.recv(262144)
        self.buffer += piece
        return bool(piece)

    def line(self):
        while b"\n" not in self.buffer:
            if not self.fill():
                raise EOFError
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.rstrip(b"\r").decode("latin-1")

    def take(self, count):
        while len(self.buffer) < count:
            if not self.fill():
                raise EOFError
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken

    def rest(self):
        while self.fill():
            pass
        taken, self.buffer = self.buffer, b""
        return taken

    def fields(self):
        """Header or trailer lines up to the empty one, names in lower case."""
        found = []
        while line := self.line():
            name, _, value = line.partition(":")
            found.append((name.strip().lower(), value.strip()))
        return found

    def body(self, headers, until_end):
        """Body and trailers of the message that these headers start."""
        names = dict(headers)
        if "chunked" in names.get("transfer-encoding", ""):
            body = b""
            while size := int(self.line().split(";")[0], 16):
                body += self.take(size)
                self.line()
            return body, self.fields()
        if "content-length" in names:
            return self.take(int(names["content-length"])), []
        return (self.rest() if until_end else b""), []


def serve(handler):
    """A listening socket on a free port; every connection runs `handler(connection)` in a thread. Returns the port."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    def handle(connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            try:
                handler(connection)
            except (OSError, EOFError, ValueError):
                pass

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=handle, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


class Upstream:
    """Answers HTTP/1.1 as the request's header `x-up` says, and remembers what it got."""

    def __init__(self):
        self.requests = []
        self.port = serve(self._http)
        self.tcp_port = serve(self._tcp)
        with socket.create_server(("127.0.0.1", 0)) as gone:
            self.dead_port = gone.getsockname()[1]

    def _http(self, connection):
        reader = Reader(connection)
        while True:
            method, path, _ = reader.line().split(" ", 2)
            headers = reader.fields()
            plan = dict(headers).get("x-up", "")
            plan = json.loads(plan) if plan.startswith("{") else {}
            request = {"method": method, "path": path, "headers": headers, "body": None, "trailers": None}
            self.requests.append(request)
            if plan.get("early"):
                self._answer(connection, method, plan)
            body, trailers = reader.body(headers, False)
            request["body"], request["trailers"] = body, trailers
            if not plan.get("early"):
                self._answer(connection, method, plan)

    @staticmethod
    def _answer(connection, method, plan):
        time.sleep(plan.get("delay", 0))
        if plan.get("reset"):
            connection.close()
            raise EOFError
        chunks = [piece.encode() for piece in plan.get("chunks", ["hello"])] if "size" not in plan else [
            b"x" * plan["size"]]
        trailers = plan.get("trailers")
        head = [f"HTTP/1.1 {plan.get('status', 200)} Fine"]
        head += [f"{name}: {value}" for name, value in plan.get("headers", [])]
        chunked = trailers is not None or len(chunks) > 1 or plan.get("chunked")
        head.append("transfer-encoding: chunked" if chunked else f"content-length: {sum(map(len, chunks))}")
        connection.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
        if method == "HEAD":
            return
        for number, chunk in enumerate(chunks):
            if number:
                time.sleep(plan.get("pause", 0.03))
            if chunk:
                connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" if chunked else chunk)
        if chunked:
            time.sleep(plan.get("before_end", 0))
            tail = "".join(f"{name}: {value}\r\n" for name, value in (trailers or {}).items())
            connection.sendall(f"0\r\n{tail}\r\n".encode())

    @staticmethod
    def _tcp(connection):
        """Echoes; `CLOSE` closes, `HALF` closes its sending side after an answer, at the client's end says `BYE`."""
        while piece := connection.recv(65536):
            if b"CLOSE" in piece:
                return
            connection.sendall(piece)
            if b"HALF" in piece:
                connection.shutdown(socket.SHUT_WR)
        connection.sendall(b"BYE")


class Answer:
    """What came back for one request; `status` 0 where the connection ended instead."""

    def __init__(self):
        self.status, self.headers, self.body, self.trailers, self.broken = 0, [], b"", [], False

    def header(self, name):
        values = [value for key, value in self.headers if key == name]
        return ",".join(values) if values else None

    def __repr__(self):
        return f"{self.status} {self.headers} {self.body[:300]!r} {self.trailers} broken={self.broken}"


def connect(port, timeout=5):
    connection = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def receive(reader, method):
    answer = Answer()
    try:
        while answer.status in (0, 100):
            version, status, *_ = reader.line().split(" ", 2)
            if not version.startswith("HTTP/1."):
                raise PeerError(f"not a status line: {version}")
            answer.status, answer.headers = int(status), reader.fields()
        if method != "HEAD" and answer.status not in (204, 304):
            answer.body, answer.trailers = reader.body(answer.headers, True)
    except (EOFError, ConnectionResetError, BrokenPipeError):
        answer.broken = True
    except TimeoutError:
        answer.broken = True
        answer.status = answer.status or -1
    return answer


def request(port, method, path, headers, chunks=None, trailers=None, pause=0.03, connection=None, timeout=5):
    """One request. One chunk goes with a content-length, several go chunked with pauses in between."""
    own = connection is None
    if own:
        connection = connect(port, timeout)
    try:
        names = {name.lower() for name, _ in headers}
        lines = [f"{method} {path} HTTP/1.1"]
        if "host" not in names:
            lines.append("host: conformance.test")
        lines += [f"{name}: {value}" for name, value in headers]
        chunked = chunks is not None and (len(chunks) != 1 or trailers is not None)
        if chunked:
            lines.append("transfer-encoding: chunked")
        elif chunks is not None:
            lines.append(f"content-length: {len(chunks[0])}")
        try:
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
            for number, chunk in enumerate(chunks or []):
                if number:
                    time.sleep(pause)
                connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" if chunked else chunk)
            if chunked:
                # The end comes alone, as the pieces do.
                time.sleep(pause)
                tail = "".join(f"{name}: {value}\r\n" for name, value in (trailers or {}).items())
                connection.sendall(f"0\r\n{tail}\r\n".encode())
        except (BrokenPipeError, ConnectionResetError):
            pass  # The answer says why.
        return receive(Reader(connection), method)
    finally:
        if own:
            connection.close()
