"""A small http server on this machine that can cut answers short, ignore ranges, redirect, or refuse."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Shelf:
    """What the server gives, and what it was asked.

    Attributes:
        files: bytes by path.
        asked: (path, Range) of every request.
        cut_after: answers end after so many bytes, one number for each answer; None sends all.
        ranges: whether it honours `Range`.
        redirects: address by path.
        codes: answers of errors, by path, one a request.
        lengths: whether it says how long its answers are.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.cut_after: list[int | None] = []
        self.ranges = True
        self.redirects: dict[str, str] = {}
        self.codes: dict[str, list[int]] = {}
        self.lengths = True
        self.address = ""

    def url(self, path: str) -> str:
        return f"{self.address}/{path}"


@contextmanager
def serving() -> Iterator[Shelf]:
    """Serve a shelf until the end of the block."""
    shelf = Shelf()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.0"  # an answer ends where its connection does

        def do_GET(self) -> None:
            path, asked = self.path.lstrip("/"), self.headers.get("Range")
            shelf.asked.append((path, asked))
            if shelf.codes.get(path):
                self.send_error(shelf.codes[path].pop(0))
            elif path in shelf.redirects:
                self.send_response(302)
                self.send_header("Location", shelf.redirects[path])
                self.end_headers()
            elif path not in shelf.files:
                self.send_error(404)
            else:
                self.give(shelf.files[path], asked)

        def give(self, data: bytes, asked: str | None) -> None:
            match = re.fullmatch(r"bytes=(\d+)-", asked or "") if shelf.ranges else None
            start = int(match[1]) if match else 0
            if match and start >= len(data):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(data)}")
                self.end_headers()
                return
            self.send_response(206 if match else 200)
            if match:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            if shelf.lengths:
                self.send_header("Content-Length", str(len(data) - start))
            self.end_headers()
            cut = shelf.cut_after.pop(0) if shelf.cut_after else None
            self.wfile.write(data[start:][:cut])

        def log_message(self, format: str, *values: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        shelf.address = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield shelf
        finally:
            server.shutdown()
            thread.join()
