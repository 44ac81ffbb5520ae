# SPDX-License-Identifier: GPL-3.0-or-later
"""A web server for a test: it counts what it is asked for, and can be as bad as real ones."""

from __future__ import annotations

import base64
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote


class WebServer:
    """Serves the files of a folder on the loopback.

    Parameters
    ----------
    folder : Path
        The files.
    ranges : bool
        Whether parts of files are sent.
    listing : bool
        Whether the page of the folder lists its files.
    """

    def __init__(self, folder: Path, *, ranges: bool = True, listing: bool = True) -> None:
        self.folder, self.ranges, self.listing = folder, ranges, listing
        #: Of each request: method, path with query, first byte and number of bytes; None for all.
        self.requests: list[tuple[str, str, tuple[int, int] | None]] = []
        #: Status of the next answers, instead of what they would be.
        self.statuses: list[int] = []
        #: Part of the bytes that the next answers hold.
        self.halves: list[float] = []
        #: Page of the folder, instead of one that lists its files.
        self.page = b""
        #: End of names, and the status that is answered for these.
        self.broken: tuple[str, int] = ("", 0)
        #: Whether whole files are sent without their size.
        self.chunked = False
        self.password = ""
        self.silent_s = 0.0
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                server._answer(self, body=False)

            def do_GET(self) -> None:
                server._answer(self, body=True)

        self._httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._httpd.daemon_threads = True
        self._thread = threading.Thread(target=self._httpd.serve_forever, daemon=True)
        self._thread.start()
        self.port = self._httpd.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        """Stop."""
        self._httpd.shutdown()
        self._httpd.server_close()
        self._thread.join()

    def parts(self, name: str) -> list[tuple[int, int]]:
        """Return the ranges of a file that were asked for."""
        return [part for _, path, part in self.requests if part and _name(path) == name]

    def _answer(self, handler: Any, *, body: bool) -> None:
        name = _name(handler.path)
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers.get("Range", ""))
        part = (int(match[1]), int(match[2]) - int(match[1]) + 1) if match else None
        self.requests.append((handler.command, handler.path, part))
        time.sleep(self.silent_s)
        if self.statuses and (status := self.statuses.pop(0)):
            self._send(handler, status, {}, b"")
            return
        expected = "Basic " + base64.b64encode(self.password.encode()).decode()
        if self.password and handler.headers.get("Authorization") != expected:
            self._send(handler, 401, {}, b"")
            return
        if not name and self.listing:
            names = sorted(path.name for path in self.folder.iterdir())
            page = "".join(f'<a href="{quote(n)}">{n}</a>\n' for n in names)
            self._send(handler, 200, {"Content-Type": "text/html"}, self.page or page.encode())
            return
        if self.broken[1] and name.endswith(self.broken[0]):
            self._send(handler, self.broken[1], {}, b"")
            return
        path = self.folder / name
        if not name or not path.is_file():
            self._send(handler, 404, {}, b"")
            return
        if self.chunked and body:
            content = path.read_bytes()
            content = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content)
            how = {"Transfer-Encoding": "chunked", "Content-Length": ""}
            self._send(handler, 200, how, content)
            return
        size, mtime = path.stat().st_size, path.stat().st_mtime_ns
        headers = {"ETag": f'"{mtime:x}-{size:x}"'}
        status, start, length = 200, 0, size
        if part and self.ranges:
            status, start = 206, part[0]
            length = min(part[1], size - start)
            headers |= {"Content-Range": f"bytes {start}-{start + length - 1}/{size}"}
            if start >= size:
                self._send(handler, 416, {"Content-Range": f"bytes */{size}"}, b"")
                return
        sent = int(length * self.halves.pop(0)) if self.halves else length
        if not body:
            self._send(handler, status, headers | {"Content-Length": str(length)}, b"")
            return
        with path.open("rb") as file:
            file.seek(start)
            self._send(handler, status, headers | {"Content-Length": str(length)}, file, sent)

    def _send(
        self,
        handler: Any,
        status: int,
        headers: dict[str, str],
        content: Any,
        length: int | None = None,
    ) -> None:
        handler.send_response(status)
        if isinstance(content, bytes):
            headers = {"Content-Length": str(len(content)), **headers}
        for key, value in ((k, v) for k, v in headers.items() if v):
            handler.send_header(key, value)
        handler.end_headers()
        try:
            if isinstance(content, bytes):
                handler.wfile.write(content)
                return
            assert length is not None
            while length > 0:
                piece = content.read(min(length, 1 << 20))
                handler.wfile.write(piece)
                length -= len(piece)
            if int(headers["Content-Length"]) > 0 and content.tell() and length <= 0:
                handler.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            pass
        handler.close_connection = True  # after half an answer the client must not wait


def _name(path: str) -> str:
    return unquote(path.partition("?")[0]).lstrip("/")
