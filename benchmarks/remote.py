# SPDX-License-Identifier: GPL-3.0-or-later
"""What a recording on a server costs: requests, bytes, time and memory.

``python -m benchmarks.remote ADDRESS --server URL``. Everything goes through a proxy that counts,
for which ``{proxy}`` stands in the address and the options. The server is reached without
encryption, such as one on this machine. Each work runs in a fresh process.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from benchmarks.memory import own_peak, quiet

#: Bytes that the proxy hands on at once.
_PIECE = 256 << 10


class Proxy:
    """Hands bytes on to a server and back, and counts requests and the bytes of answers."""

    def __init__(self, server: str) -> None:
        parts = urlsplit(server)
        self._server = parts.hostname or "127.0.0.1", parts.port or 80
        self.requests = self.bytes = 0
        self._lock = threading.Lock()
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def counts(self) -> tuple[int, int]:
        """Return requests and bytes since the last call."""
        with self._lock:
            result = self.requests, self.bytes
            self.requests = self.bytes = 0
        return result

    def _accept(self) -> None:
        while True:
            client, _ = self._socket.accept()
            server = socket.create_connection(self._server)
            for ends in ((client, server, True), (server, client, False)):
                threading.Thread(target=self._hand_on, args=ends, daemon=True).start()

    def _hand_on(self, source: socket.socket, target: socket.socket, asking: bool) -> None:
        try:
            while piece := source.recv(_PIECE):
                with self._lock:
                    if asking:  # requests that only read have no content: each is one piece
                        self.requests += piece.count(b" HTTP/1.1\r\n")
                    else:
                        self.bytes += len(piece)
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            for one in (source, target):
                one.close()


@dataclass(frozen=True)
class Recording:
    """What is read.

    Parameters
    ----------
    address : str
        Of the server, or a path.
    options : dict
        ``storage_options``.
    shape : tuple of int
        Scan shape, rows and columns.
    """

    address: str
    options: dict[str, Any]
    shape: tuple[int, int]


WORKS = ("open, no shape given", "open, shape given", "one lazy frame", "virtual dark field")


def _work(name: str, recording: Recording, pipe: Connection) -> None:
    """Do the work; say when it begins, and how long it took, the peak of memory and the result."""
    import rsciio_tem

    quiet()
    shape: dict[str, Any] = {} if name == WORKS[0] else {"nav_shape": recording.shape}
    if recording.options:
        shape["storage_options"] = recording.options
    row, column = recording.shape[0] // 2, recording.shape[1] // 3
    if name == WORKS[2]:
        data = rsciio_tem.load(recording.address, lazy=True, **shape)[0]["data"]
    pipe.send(own_peak())
    pipe.recv()
    start = time.perf_counter()
    if name == WORKS[2]:
        result = data[row, column].compute()
    elif name == WORKS[3]:
        masks = {"dark field": rsciio_tem.Annulus(30, 90)}
        result = rsciio_tem.reduce(recording.address, masks=masks, progress=False, **shape)
        result = result["dark field"]
    else:
        signals = rsciio_tem.load(recording.address, lazy=True, **shape)
        result = np.array(signals[0]["data"].shape)
    pipe.send((time.perf_counter() - start, own_peak(), np.asarray(result)))


def measure(
    name: str, recording: Recording, proxy: Proxy | None = None
) -> tuple[tuple[int, int], float, float, float, Any]:
    """Return requests and bytes, seconds, peaks of memory before and after, and the result."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=_work, args=(name, recording, theirs))
    child.start()
    theirs.close()
    before = ours.recv()
    if proxy is not None:
        proxy.counts()
    ours.send(None)
    seconds, after, result = ours.recv()
    child.join()
    return proxy.counts() if proxy else (0, 0), seconds, before, after, result


def make(path: Path, shape: tuple[int, int]) -> None:
    """Write a recording of Merlin, of which the times show the lines, with its ``.hdr``."""
    from rsciio_tem.tools import demo

    rng, columns = np.random.default_rng(0), shape[1]
    with path.open("wb") as file:
        for first in range(0, math.prod(shape), columns):
            number = first + np.arange(columns)
            times = demo.START_NS + number * demo.DWELL_NS + number // columns * demo.FLYBACK_NS
            pixels = rng.integers(0, 4096, (columns, 256 * 256), "u2").astype(">u2")
            for header, frame in zip(demo.frame_headers(first + 1, times), pixels, strict=True):
                file.write(header + frame.tobytes())
    path.with_suffix(".hdr").write_bytes(demo.hdr_text(math.prod(shape)))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print a table; 1 if a result is not that of the local copy."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.remote", description=__doc__)
    add = parser.add_argument
    add("address", help="such as s3://bucket/scan.mib or {proxy}/scan.mib; with --make, a path")
    add("--make", action="store_true", help="write a recording of this shape, and nothing else")
    add("--server", default="http://127.0.0.1:80", metavar="URL", help="http://HOST:PORT")
    add("--options", type=json.loads, default={}, metavar="JSON", help="storage_options")
    add("--shape", required=True, metavar="ROWS,COLUMNS")
    add("--local", metavar="PATH", help="a copy on a disk, with which results are compared")
    arguments = parser.parse_args(argv)
    rows, columns = map(int, arguments.shape.split(","))
    if arguments.make:
        make(Path(arguments.address), (rows, columns))
        return 0
    proxy = Proxy(arguments.server)
    options = json.loads(json.dumps(arguments.options).replace("{proxy}", proxy.url))
    remote = Recording(arguments.address.replace("{proxy}", proxy.url), options, (rows, columns))
    print("| What | Requests | Fetched | Time | Peak memory, before and after |")
    print("|---|---|---|---|---|")
    wrong = 0
    for name in WORKS:
        (requests, size), seconds, before, after, result = measure(name, remote, proxy)
        note = ""
        if arguments.local:
            *_, expected = measure(name, Recording(arguments.local, {}, (rows, columns)))
            if not np.array_equal(result, expected):
                note, wrong = " WRONG", 1
        print(
            f"| {name}{note} | {requests} | {size / 1e6:.2f} MB | {seconds:.2f} s | "
            f"{before:.0f}, {after:.0f} MB |",
            flush=True,
        )
    return wrong


if __name__ == "__main__":
    raise SystemExit(main())
