"""Servers that the tests read sets from, on this machine: HTTP with and without ranges, S3, and a line that is cut."""

import contextlib
import io
import logging
import re
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec


class HttpServer(ThreadingHTTPServer):
    """A folder over HTTP.

    requests: (method, path) of all so far; on_request is called with the path of each and may answer with a status.
    """

    daemon_threads = True

    def __init__(self, folder: Path, *, ranges: bool):
        super().__init__(("127.0.0.1", 0), _RangeHandler if ranges else _PlainHandler)
        self.folder, self.requests = folder, []
        self.on_request: Callable[[str], int | None] = lambda path: None
        self.url = f"http://127.0.0.1:{self.server_port}"

    def shard_requests(self) -> int:
        """How many requests were for shards."""
        return sum(path.endswith(".tar") for _, path in self.requests)

    def handle_error(self, request, client_address) -> None:
        """A client that hangs up is none."""


class _PlainHandler(SimpleHTTPRequestHandler):
    """As `python -m http.server` answers, which knows no ranges."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or every answer waits for the client's acknowledgement, 40 ms

    def __init__(self, request, client_address, server: HttpServer):
        super().__init__(request, client_address, server, directory=str(server.folder))

    def send_head(self):
        self.server.requests.append((self.command, self.path))
        if (status := self.server.on_request(self.path)) is not None:
            return self.send_error(status)
        return self.send_answer()

    def send_answer(self):
        return super().send_head()

    def log_message(self, *args) -> None:
        """Nothing on stderr."""


class _RangeHandler(_PlainHandler):
    def send_answer(self):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if wanted is None or not path.is_file():
            return super().send_answer()
        data, first = path.read_bytes(), int(wanted[1])
        part = data[first : int(wanted[2]) + 1 if wanted[2] else None]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        return io.BytesIO(part)


@contextlib.contextmanager
def serve_http(folder: Path, *, ranges: bool = True) -> Iterator[HttpServer]:
    """Serve a folder until the block ends."""
    with HttpServer(folder, ranges=ranges) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class CutLine:
    """Passes bytes on to a server and back; cuts a connection that has brought `after` bytes back, `times` times in all.

    num_cut: how often so far.
    """

    def __init__(self, port: int, *, after: int, times: float):
        self._port, self._after, self._times = port, after, times
        self._lock = threading.Lock()
        self.num_cut = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                for end in (client, server):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for ends, is_answer in (((client, server), False), ((server, client), True)):
                    threading.Thread(target=self._pass_on, args=(*ends, is_answer), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        left = self._after
        with contextlib.suppress(OSError):  # the other end is gone
            while data := source.recv(1 << 16):
                if is_answer and len(data) >= left and self._may_cut():
                    target.sendall(data[:left])
                    break
                left -= len(data)
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
                end.close()

    def _may_cut(self) -> bool:
        with self._lock:
            may = self.num_cut < self._times
            self.num_cut += may
            return may


@contextlib.contextmanager
def cut_line(port: int, *, after: int, times: float = 1) -> Iterator[CutLine]:
    """A line to a server on `port` until the block ends."""
    line = CutLine(port, after=after, times=times)
    try:
        yield line
    finally:
        line.close()


@contextlib.contextmanager
def serve_s3(folder: Path) -> Iterator[int]:
    """Serve a folder as s3://people/set until the block ends; gives the port."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        port = server.get_host_and_port()[1]
        options = {"endpoint_url": f"http://127.0.0.1:{port}", "key": "key", "secret": "secret"}
        store = fsspec.filesystem("s3", **options, skip_instance_cache=True)
        store.mkdir("people")
        for path in folder.iterdir():
            store.put_file(str(path), f"people/set/{path.name}")
        yield port
    finally:
        server.stop()
